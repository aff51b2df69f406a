"use strict";
// Keeps the verdicts on samples in the browser, and saves them as a file. Texts are never made into markup.
for (const samples of document.querySelectorAll(".samples")) {
  const place = "albacore verdicts: " + samples.dataset.name;
  const articles = [...samples.querySelectorAll(".sample")];
  const inputs = (article) => [...article.querySelectorAll("input")];
  const kept = () => {
    try { return JSON.parse(localStorage.getItem(place)) || {}; } catch { return {}; }
  };
  const keep = (verdicts) => {
    try { localStorage.setItem(place, JSON.stringify(verdicts)); } catch { /* not allowed to: only this visit */ }
  };
  const verdicts = () => {
    const all = {};
    for (const article of articles) {
      const answers = inputs(article).filter((input) => input.checked).map((input) => [input.dataset.key, input.value]);
      if (answers.length) all[article.dataset.id] = Object.fromEntries(answers);
    }
    return all;
  };
  const tell = () => {
    const all = Object.values(verdicts());
    const keys = [...new Set(inputs(samples).map((input) => input.dataset.key))];
    const parts = keys.map((key) => {
      const rated = all.filter((one) => key in one);
      const good = rated.filter((one) => one[key] === "good").length;
      return key.replaceAll("_", " ") + ": " + good + " of " + rated.length + " good";
    });
    const whole = all.filter((one) => keys.every((key) => key in one));
    const good = whole.filter((one) => keys.every((key) => one[key] === "good")).length;
    parts.push("all of these: " + good + " of " + whole.length);
    samples.querySelector("output").textContent = parts.join(" · ");
  };
  const show = (all) => {
    for (const article of articles) {
      const answers = Object.assign(Object.create(null), all[article.dataset.id]);
      for (const input of inputs(article)) input.checked = answers[input.dataset.key] === input.value;
    }
    tell();
  };
  samples.addEventListener("change", () => { keep({ ...kept(), ...verdicts() }); tell(); });
  samples.querySelector("[data-do=forget]").addEventListener("click", () => { keep({}); show({}); });
  samples.querySelector("[data-do=save]").addEventListener("click", () => {
    const all = verdicts();
    const records = articles.map((article) => ({
      record: Number(article.dataset.record), id: article.dataset.id, verdicts: all[article.dataset.id] || {},
    }));
    const text = JSON.stringify({ samples: samples.dataset.name, records }, null, 1) + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "verdicts.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  samples.querySelector(".verdicts").hidden = false;
  show(kept());
}
