//! The words that decide what is a verb, and where its object ends.

/// Verbs with which tasks are told, in their base form.
pub(super) const VERBS: &str = "
    abbreviate accept act adapt add address adjust advise alter analyze annotate answer apply appraise
    argue arrange ask assemble assess assign assume attach attempt balance begin bold brainstorm break
    brew bring browse build bullet calculate calibrate capitalize caption capture categorize cast
    change characterize check choose circle cite clarify classify clean code collect combine come
    comment compare compile complete compose compress compute concatenate conclude condense conduct
    conjugate connect consider construct contrast convert cook copy correct correlate count craft
    create critique cut debate debug decide decipher decode decompose decrypt deduce define deliver
    demonstrate derive describe design detail detect determine develop devise diagnose differentiate
    disambiguate discover discuss display distinguish divide do document draft draw edit elaborate
    eliminate email encode encrypt end enhance ensure enter enumerate establish estimate evaluate
    examine exchange execute expand explain explore express extend extract factor fetch figure fill
    filter find finish fix follow forecast form format formulate forward gather generate get give go
    grade graph group guess guide have highlight hypothesize identify illustrate imagine imitate
    implement improve include incorporate indicate infer inform insert inspect integrate interpret
    introduce invent invert investigate invite join judge justify keep label lay learn leave list
    locate look make manage map mark match mean measure memorize mention merge minimize mix model
    modify move multiply name narrate negate normalize note number observe offer open optimize order
    organize outline output paint paraphrase parse perform persuade phrase pick place plan play plot
    point polish pose post practice praise predict prepare present pretend print prioritize produce
    prompt pronounce proofread propose prove provide pull punctuate put quantify query quote rank rate
    react read rearrange reason recall recast recite recognize recommend reconstruct record rectify
    recreate reduce refer refine reflect reformat reformulate reject relate remove rename reorder
    reorganize repair repeat rephrase replace reply report represent research resolve respond restate
    restructure retell retrieve return reverse review revise reword rewrite role round run save say
    scan schedule score search select send separate sequence set shorten show simplify simulate sketch
    solve sort speak specify spell split spot start state strengthen structure study subtract suggest
    sum summarize supply support swap symbolize synthesize tag take talk teach tell test think time
    title touch trace track train transcribe transform translate transpose trim try turn type
    underline understand unscramble update use utilize validate verify view visualize vote weigh work
    write";

/// Spellings that are one verb.
pub(super) const SPELLINGS: [(&str, &str); 22] = [
    ("analyse", "analyze"),
    ("capitalise", "capitalize"),
    ("categorise", "categorize"),
    ("characterise", "characterize"),
    ("hypothesise", "hypothesize"),
    ("memorise", "memorize"),
    ("minimise", "minimize"),
    ("normalise", "normalize"),
    ("optimise", "optimize"),
    ("organise", "organize"),
    ("practise", "practice"),
    ("prioritise", "prioritize"),
    ("recognise", "recognize"),
    ("reorganise", "reorganize"),
    ("re-write", "rewrite"),
    ("summarise", "summarize"),
    ("symbolise", "symbolize"),
    ("synthesise", "synthesize"),
    ("utilise", "utilize"),
    ("visualise", "visualize"),
    ("sumarize", "summarize"),
    ("e-mail", "email"),
];

/// Words before an imperative's verb.
pub(super) const OPENERS: &str = "
    please kindly now first next also finally briefly carefully concisely clearly simply just then
    quickly correctly accurately always and";

/// Words after which `to` leads to what is to be done.
pub(super) const BEFORE_TO: &str =
    "need needs have is want like asked required told supposed you job task goal try attempt";

/// Who may stand after the verb of a question.
pub(super) const SUBJECTS: &str = "i you he she it we they people";

/// Words that belong to the verb before them.
pub(super) const PARTICLES: &str =
    "out up down off back as for to at on over through into in about";

/// Objects by themselves, unless another follows.
pub(super) const PRONOUNS: &str = "me us him it them you yourself myself";

/// Words with which a noun phrase begins.
pub(super) const DETERMINERS: &str = "
    a an the this that these those my your his her its our their some any each every all both either
    another one two three four five six seven eight nine ten several many few most more at no which
    what whose least";

/// Words that stand in a noun phrase and are never its head.
pub(super) const MODIFIERS: &str = "
    above accurate actual additional alternative appropriate available bad basic below best better big
    bold brief catchy clear coherent common complete complex compelling concise correct creative
    current detailed different difficult easy effective engaging entire exact existing fictional final
    first following formal french full fun funny general german given good great happy healthy
    helpful high historical important incorrect indicated informal informative interesting italian
    key large last latin little logical long longer low main major meaningful mentioned missing modern
    most native natural necessary new next nice old opposite original other overall own perfect personal
    persuasive plausible poetic polite popular positive possible potential practical prime proper
    provided random realistic relevant right romantic sad same scientific second short shorter similar
    simple single small spanish specific specified strong suitable sample third total unique useful
    valid various very vivid well-known whole wise witty word-for-word wrong negative english
    american real possible odd even";

/// Words before which a noun phrase has ended.
pub(super) const ENDS: &str = "
    of in on at by for from to with without within into onto about between among against during
    before after over under across through via per like as than because since until while when where
    why how whether if so but nor and or that which who whom whose then using based according
    regarding concerning containing is are was were be been being has have had do does did can could
    will would should must may might not you i we they he she it there here if's only also given
    inside around behind near related such including toward towards upon except per";

/// Plurals that follow no rule, and words that only look like plurals.
pub(super) const PLURALS: [(&str, &str); 22] = [
    ("analyses", "analysis"),
    ("children", "child"),
    ("criteria", "criterion"),
    ("data", "data"),
    ("feet", "foot"),
    ("geese", "goose"),
    ("hypotheses", "hypothesis"),
    ("knives", "knife"),
    ("leaves", "leaf"),
    ("lens", "lens"),
    ("lives", "life"),
    ("men", "man"),
    ("mice", "mouse"),
    ("movies", "movie"),
    ("people", "people"),
    ("physics", "physics"),
    ("mathematics", "mathematics"),
    ("recipes", "recipe"),
    ("series", "series"),
    ("species", "species"),
    ("teeth", "tooth"),
    ("women", "woman"),
];
