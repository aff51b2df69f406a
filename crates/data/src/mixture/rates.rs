//! Rates: which part of a mixture each task is.
//!
//! ```text
//!  share(member) = share(its group) * parts(member) / parts of all members of that group
//!  parts         = the number in the config, or
//!                  min(examples, cap) ^ (1 / temperature), or of a group what its members add up to
//! ```
//! The parts are normalised level by level, as seqio's nested mixtures are.

use std::collections::BTreeMap;

use crate::{GroupConfig, Problem, Weight};

/// What is known of a source when the rates are made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    /// `weight` of the source.
    pub weight: Option<Weight>,
    /// `cap` of the source.
    pub cap: Option<usize>,
    /// `group` of the source.
    pub group: Option<String>,
    /// The examples of each of its tasks.
    pub examples: Vec<usize>,
}

/// A place in the tree: the whole, a group, or a source.
struct Node {
    parts: f64,
    children: Vec<usize>,
    share: f64,
}

/// The rate of every task of every member; they add up to 1.
///
/// # Errors
/// If a level adds up to zero, or a group that has a weight is empty. Names of groups must have passed
/// the checks of `DataConfig::validate`.
pub fn rates(
    members: &[Member],
    groups: &BTreeMap<String, GroupConfig>,
    temperature: f64,
) -> Result<Vec<Vec<f64>>, Problem> {
    let names: Vec<&String> = groups.keys().collect();
    // The whole is 0, then come the groups, then the members.
    let index_of = |name: &Option<String>| {
        name.as_ref().map_or(0, |name| {
            1 + names.iter().position(|known| *known == name).expect("groups were checked")
        })
    };
    let count = 1 + names.len() + members.len();
    let mut nodes: Vec<Node> =
        (0..count).map(|_| Node { parts: 0.0, children: Vec::new(), share: 0.0 }).collect();
    for (index, group) in groups.values().enumerate() {
        nodes[index_of(&group.group)].children.push(1 + index);
    }
    let tasks: Vec<Vec<f64>> = members
        .iter()
        .map(|member| {
            let inherited = Inherited::of(member, groups, temperature);
            member.examples.iter().map(|examples| inherited.parts(*examples)).collect()
        })
        .collect();
    for (index, (member, tasks)) in members.iter().zip(&tasks).enumerate() {
        let own = 1 + names.len() + index;
        nodes[index_of(&member.group)].children.push(own);
        nodes[own].parts = match member.weight {
            // Without an example it gives nothing, whatever it weighs.
            Some(Weight::Parts(parts)) if tasks.iter().any(|task| *task > 0.0) => parts,
            _ => tasks.iter().sum(),
        };
    }
    add_up(&mut nodes, 0, groups);
    nodes[0].share = 1.0;
    share_out(&mut nodes, 0, &names)?;
    let shares = nodes[1 + names.len()..].iter().map(|node| node.share);
    Ok(shares
        .zip(tasks)
        .map(|(share, tasks)| {
            let all: f64 = tasks.iter().sum();
            tasks.iter().map(|task| if all > 0.0 { share * task / all } else { 0.0 }).collect()
        })
        .collect())
}

/// What a source has of the groups around it.
struct Inherited {
    cap: Option<usize>,
    temperature: f64,
}

impl Inherited {
    fn of(member: &Member, groups: &BTreeMap<String, GroupConfig>, temperature: f64) -> Self {
        let around = ancestors(&member.group, groups);
        let cap = member.cap.or_else(|| around.iter().find_map(|group| group.cap));
        let own = around.iter().find_map(|group| group.temperature);
        Self { cap, temperature: own.unwrap_or(temperature) }
    }

    fn parts(&self, examples: usize) -> f64 {
        let capped = examples.min(self.cap.unwrap_or(usize::MAX)) as f64;
        capped.powf(1.0 / self.temperature)
    }
}

/// The groups around something, the nearest first.
fn ancestors<'g>(
    group: &'g Option<String>,
    groups: &'g BTreeMap<String, GroupConfig>,
) -> Vec<&'g GroupConfig> {
    let (mut around, mut next) = (Vec::new(), group.as_ref());
    // A group that is around itself has been refused; the bound keeps even that one finite.
    while let Some(group) = next.and_then(|name| groups.get(name))
        && around.len() <= groups.len()
    {
        around.push(group);
        next = group.group.as_ref();
    }
    around
}

/// Gives every group its parts, the innermost first.
fn add_up(nodes: &mut [Node], index: usize, groups: &BTreeMap<String, GroupConfig>) {
    let children = nodes[index].children.clone();
    children.iter().for_each(|child| add_up(nodes, *child, groups));
    let inside: f64 = children.iter().map(|child| nodes[*child].parts).sum();
    let weight = index.checked_sub(1).and_then(|index| groups.values().nth(index)?.weight);
    if index <= groups.len() {
        nodes[index].parts = match weight {
            Some(Weight::Parts(parts)) => parts,
            _ => inside,
        };
    }
}

/// Gives every member its share of what the whole has, the outermost first.
fn share_out(nodes: &mut [Node], index: usize, names: &[&String]) -> Result<(), Problem> {
    let children = nodes[index].children.clone();
    let all: f64 = children.iter().map(|child| nodes[*child].parts).sum();
    let is_group = index <= names.len();
    if is_group && nodes[index].share > 0.0 && all <= 0.0 {
        return Err(nothing_in(index.checked_sub(1).map(|index| names[index])));
    }
    for child in children {
        nodes[child].share =
            if all > 0.0 { nodes[index].share * nodes[child].parts / all } else { 0.0 };
        share_out(nodes, child, names)?;
    }
    Ok(())
}

/// A level whose rates sum to zero.
fn nothing_in(group: Option<&String>) -> Problem {
    let (key, of) = match group {
        Some(name) => (format!("data.groups.{name}"), "its sources"),
        None => ("data.sources".to_owned(), "all sources"),
    };
    Problem {
        key,
        message: format!("has a rate of zero: the weights of {of} add up to 0, wanted more"),
        hint: Some(
            "give one of them a `weight` above 0, or `weight = \"proportional\"` and an example"
                .into(),
        ),
    }
}

/// What is wrong with the groups and with the sources' weights, as far as that is seen without a file.
pub(crate) fn check_groups(
    sources: &[(Option<Weight>, Option<&String>)],
    groups: &BTreeMap<String, GroupConfig>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut tell = |key: String, message: String, hint: Option<String>| {
        problems.push(Problem { key: format!("data.{key}"), message, hint });
    };
    let known: Vec<&String> = groups.keys().collect();
    let unknown = |name: &String| match known.as_slice() {
        [] => format!("there is no group: add `[data.groups.{name}]`"),
        known => format!("known: {}", crate::defect::in_backticks(known)),
    };
    let parts = |weight| match weight {
        Some(Weight::Parts(parts)) if !(0.0..f64::INFINITY).contains(&parts) => Some(parts),
        _ => None,
    };
    for (index, (weight, group)) in sources.iter().enumerate() {
        if let Some(parts) = parts(*weight) {
            tell(format!("sources[{index}].weight"), wrong_parts(parts), None);
        }
        if let Some(name) = group.filter(|name| !groups.contains_key(*name)) {
            let message = format!("is `{name}`, which is no group");
            tell(format!("sources[{index}].group"), message, Some(unknown(name)));
        }
    }
    for (name, group) in groups {
        if let Some(parts) = parts(group.weight) {
            tell(format!("groups.{name}.weight"), wrong_parts(parts), None);
        }
        if group.cap == Some(0) {
            tell(format!("groups.{name}.cap"), "is 0, wanted 1 or more".into(), None);
        }
        if let Some(temperature) = group.temperature.filter(|found| !is_temperature(*found)) {
            tell(format!("groups.{name}.temperature"), wrong_temperature(temperature), None);
        }
        if let Some(parent) = group.group.as_ref().filter(|parent| !groups.contains_key(*parent)) {
            let message = format!("is `{parent}`, which is no group");
            tell(format!("groups.{name}.group"), message, Some(unknown(parent)));
        } else if ancestors(&group.group, groups).len() > groups.len() {
            tell(format!("groups.{name}.group"), "leads round in a circle".into(), None);
        }
    }
    problems
}

fn wrong_parts(parts: f64) -> String {
    format!("is {parts:?}, wanted 0 or more, or `\"proportional\"`")
}

pub(crate) fn is_temperature(temperature: f64) -> bool {
    temperature > 0.0 && temperature.is_finite()
}

pub(crate) fn wrong_temperature(temperature: f64) -> String {
    format!("is {temperature:?}, wanted a number above 0")
}
