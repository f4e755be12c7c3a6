// The studio's own parts. What is live is asked from the routes below /studio, at a cost that grows with what is new;
// what changes anything goes through the page's own events.
const astraiStudio = (() => {
  const TICK_MS = 1500, MAX_POINTS = 4000, NUM_COLOURS = 6, TABLE_ROWS = 12;
  const FIRST = ["loss", "learning_rate", "tokens_per_s", "reward", "accuracy", "margin"];
  const HIDDEN = new Set(["time", "attempt", "step", "tokens", "eta_s"]);
  const language = () => document.querySelector("#language input:checked")?.value ?? "";
  const isSeen = (element) => element.offsetParent !== null && document.visibilityState === "visible";
  const { escaped, short } = astraiCharts;

  const ask = async (address) => {
    const response = await fetch(`${address}${address.includes("?") ? "&" : "?"}language=${language()}`);
    return response.ok ? response : null;
  };

  // Put HTML where it differs from what was put there last; what a user has opened or typed stays.
  const fill = (place, html) => {
    if (!place || place.astraiShown === html) return false;
    const open = new Set([...place.querySelectorAll("details[open]")].map((one) => one.dataset.name));
    place.innerHTML = html;
    place.astraiShown = html;
    place.querySelectorAll("details").forEach((one) => { if (open.has(one.dataset.name)) one.open = true; });
    return true;
  };

  // A button with data-sure asks for a second click.
  const isSure = (button) => {
    if (!button.dataset.sure || button.dataset.asked) return true;
    const before = button.textContent;
    button.dataset.asked = "1";
    button.textContent = button.dataset.sure;
    setTimeout(() => { button.textContent = before; delete button.dataset.asked; }, 4000);
    return false;
  };

  // The series of one run, kept up to date from a byte offset.
  class Series {
    constructor(run) { this.run = run; this.offset = 0; this.attempt = 0; this.lines = new Map(); this.isBusy = false; this.isSample = false; }

    async update() {
      if (this.isBusy) return false;
      this.isBusy = true;
      try {
        const response = await ask(`/studio/runs/${this.run}/metrics?from=${this.offset}&sample=${Number(this.isSample)}`);
        const news = response && await response.json();
        if (!news || news.offset === this.offset && !news.series) return false;
        if (news.series) this.replace(news);
        for (const row of news.rows ?? []) this.add(row);
        this.attempt = news.attempt ?? this.attempt;
        const isLong = [...this.lines.values()].some((line) => line.steps.length > MAX_POINTS);
        this.offset = isLong ? 0 : news.offset;
        return true;
      } finally { this.isBusy = false; }
    }

    replace({ series, is_sample: isSample }) {
      this.isSample = isSample;
      this.lines = new Map(Object.entries(series).map(([name, [steps, values]]) => [name, { steps, values }]));
    }

    // A later attempt replaces what was beyond its first step.
    add(row) {
      if (row.attempt > this.attempt) {
        for (const line of this.lines.values()) {
          while (line.steps.length && line.steps.at(-1) >= row.step) { line.steps.pop(); line.values.pop(); }
        }
        this.attempt = row.attempt;
      }
      for (const [name, value] of Object.entries(row)) {
        if (HIDDEN.has(name) || typeof value !== "number") continue;
        if (!this.lines.has(name)) this.lines.set(name, { steps: [], values: [] });
        const line = this.lines.get(name);
        line.steps.push(row.step);
        line.values.push(value);
      }
    }
  }

  const titleOf = (name, texts) => name.startsWith("validation_")
    ? `${texts[groupOf(name)] ?? groupOf(name)} · ${texts.validation}` : texts[name] ?? name;

  const groupOf = (name) => name.replace(/^validation_/, "");

  // Metrics by chart: what is validated stands beside what is trained; the usual ones come first.
  const groups = (shown) => {
    const names = new Set(shown.flatMap(({ series }) => [...series.lines.keys()]).map(groupOf));
    const first = FIRST.filter((name) => names.delete(name));
    return [...first, ...[...names].filter((name) => !HIDDEN.has(name)).sort()];
  };

  const linesOf = (group, shown, texts) => shown.flatMap(({ series, colour, label }) =>
    [group, `validation_${group}`].filter((name) => series.lines.has(name)).map((name, dash) => ({
      ...series.lines.get(name), colour,
      dash: name === group ? 0 : 1,
      label: [shown.length > 1 ? label : "", name === group ? "" : texts.validation].filter(Boolean).join(" · "),
    })));

  const tableOf = (shown, texts) => shown.map(({ series, label }) => {
    const names = [...series.lines.keys()].filter((name) => !HIDDEN.has(name));
    const steps = series.lines.get("loss")?.steps ?? series.lines.get(names[0])?.steps ?? [];
    const every = Math.max(1, Math.ceil(steps.length / TABLE_ROWS));
    const rows = steps.filter((_, index) => (steps.length - 1 - index) % every === 0).map((step) => {
      const cells = names.map((name) => {
        const line = series.lines.get(name);
        const place = line.steps.indexOf(step);
        return `<td>${place < 0 ? "" : short(line.values[place])}</td>`;
      });
      return `<tr><th scope="row">${step}</th>${cells.join("")}</tr>`;
    });
    const titles = names.map((name) => `<th scope="col">${escaped(titleOf(name, texts))}</th>`).join("");
    return `<table><caption>${escaped(label)}</caption><thead><tr><th scope="col">${escaped(texts.step)}</th>${titles}` +
      `</tr></thead><tbody>${rows.join("")}</tbody></table>`;
  }).join("");

  const runs = (element, trigger) => {
    const series = new Map();
    const compared = new Set();
    let open = new URLSearchParams(location.hash.slice(1)).get("run") ?? "";
    let answersFor = "";
    const find = (selector) => element.querySelector(selector);
    const texts = () => JSON.parse(find(".runs")?.dataset.texts ?? "{}");

    const mark = () => element.querySelectorAll("li[data-run]").forEach((item) => {
      item.classList.toggle("open", item.dataset.run === open);
      const box = item.querySelector("input.compare");
      if (box) box.checked = compared.has(item.dataset.run);
    });

    const showList = async () => {
      const response = await ask("/studio/runs");
      if (!response) return;
      fill(find(".run-list"), await response.text());
      const items = [...element.querySelectorAll("li[data-run]")].map((item) => item.dataset.run);
      if (!items.includes(open)) open = items[0] ?? "";
      for (const run of compared) if (!items.includes(run)) compared.delete(run);
      mark();
    };

    const showRun = async () => {
      const detail = find(".run-detail");
      detail.hidden = !open;
      if (!open) return;
      const asked = open;
      const response = await ask(`/studio/runs/${asked}`);
      if (!response || asked !== open) return;
      for (const [slot, html] of Object.entries(await response.json())) {
        const place = find(`[data-slot="${slot}"]`);
        if (place?.contains(document.activeElement) && document.activeElement.matches("input, textarea")) continue;
        const log = place?.querySelector("pre.log");
        const wasAtEnd = log && log.scrollTop + log.clientHeight >= log.scrollHeight - 30;
        if (fill(place, html) && slot === "log") {
          const fresh = place.querySelector("pre.log");
          if (fresh && wasAtEnd !== false) fresh.scrollTop = fresh.scrollHeight;
        }
      }
    };

    const shown = () => [...new Set([open, ...compared])].filter(Boolean).map((run, index) => ({
      series: series.get(run) ?? series.set(run, new Series(run)).get(run),
      colour: index % NUM_COLOURS,
      label: find(`li[data-run="${CSS.escape(run)}"] .name`)?.textContent ?? run,
    }));

    const draw = (isForced) => {
      const [lines, words] = [shown(), texts()];
      const place = find(".charts");
      const names = groups(lines);
      const key = `${lines.map((one) => one.series.run).join()}|${names.join()}|${language()}`;
      if (place.dataset.key !== key) {
        place.dataset.key = key;
        place.innerHTML = names.map((name) => `<figure data-group="${escaped(name)}"></figure>`).join("");
        isForced = true;
      }
      if (!isForced) return;
      place.querySelectorAll("figure").forEach((box) => {
        const group = box.dataset.group;
        const kept = linesOf(group, lines, words).filter((line) => line.steps.length);
        box.innerHTML = astraiCharts.figure(words[group] ?? group, kept);
        astraiCharts.follow(box, kept);
      });
      fill(find(".chart-table"), names.length ? tableOf(lines, words) : "");
      const isTraining = find(`li[data-run="${CSS.escape(open)}"] .compare`);
      find(".no-metrics").hidden = names.length > 0 || !isTraining;
    };

    const showCharts = async (isForced = false) => {
      const changed = await Promise.all(shown().map((one) => one.series.update()));
      draw(isForced || changed.some(Boolean));
    };

    const showAnswers = async () => {
      if (!open || answersFor !== open) return;
      const response = await ask(`/studio/runs/${open}/answers`);
      const place = find(".checkpoint-answers");
      if (!response || !place) return;
      const { answers, note } = await response.json();
      const slider = place.querySelector("input[type=range]");
      const wasLast = Number(slider.value) >= Number(slider.max);
      place.astraiAnswers = answers;
      slider.max = Math.max(answers.length - 1, 0);
      slider.hidden = answers.length < 2;
      if (wasLast) slider.value = slider.max;
      place.querySelector(".answer-note").hidden = !note;
      place.querySelector(".answer-note span").textContent = note;
      place.hidden = false;
      showAnswer(place);
    };

    const showAnswer = (place) => {
      const answer = place.astraiAnswers?.[Number(place.querySelector("input[type=range]").value)];
      place.querySelector(".answer-step").textContent = answer ? `${texts().step} ${answer.step}` : "";
      place.querySelector(".answer-text").textContent = answer?.text ?? "";
      place.querySelector("input[type=range]").setAttribute("aria-valuetext", answer ? `${texts().step} ${answer.step}` : "");
    };

    const tick = async () => {
      if (!find(".runs") || !isSeen(element)) return;
      await showList();
      await Promise.all([showRun(), showCharts(), showAnswers()]);
    };
    let isBusy = false;
    const safely = async () => {
      if (isBusy) return;
      isBusy = true;
      const start = performance.now();
      try { await tick(); } catch { /* the server is away; the next tick asks again */ } finally { isBusy = false; }
      performance.measure("studio-tick", { start });
      performance.clearMeasures("studio-tick");  // an observer has it; a list of all would grow
    };
    const soon = () => [150, 600].forEach((delay) => setTimeout(safely, delay));

    const choose = async (run) => {
      open = run;
      answersFor = "";
      history.replaceState(null, "", `#run=${run}`);
      mark();
      await Promise.all([showRun(), showCharts(true)]);
      if (innerWidth < 900) find(".run-detail").scrollIntoView({ behavior: "smooth" });
    };

    element.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const run = button.closest("[data-run]")?.dataset.run ?? open;
      if (button.matches(".open-run")) choose(run);
      else if (button.dataset.act && isSure(button)) {
        const act = button.dataset.act;
        const name = act === "chat" ? "select" : act === "duplicate" ? "copy" : "input";
        const details = { act, run, prompt: "", seed: "" };
        if (act === "answer") {
          answersFor = run;
          details.prompt = find(".answer-prompt").value;
          details.seed = find(".answer-seed").value;
        }
        trigger(name, details);
        soon();
      }
    });
    element.addEventListener("change", (event) => {
      if (event.target.matches("input.compare")) {
        const run = event.target.closest("[data-run]").dataset.run;
        compared[event.target.checked ? "add" : "delete"](run);
        showCharts(true);
      }
      if (event.target.matches("textarea.note, input.rename")) {
        trigger("input", { act: event.target.matches(".note") ? "note" : "rename", run: open, text: event.target.value });
        soon();
      }
    });
    element.addEventListener("input", (event) => {
      if (event.target.matches(".checkpoint-answers input[type=range]")) showAnswer(find(".checkpoint-answers"));
    });
    addEventListener("astrai-run", (event) => { open = event.detail; soon(); });
    setInterval(safely, TICK_MS);
    new IntersectionObserver((entries) => entries[0].isIntersecting && safely()).observe(element);
  };

  // The form of all settings: what was changed goes to the page after a pause in typing.
  const settings = (element, trigger) => {
    let waiting = 0;
    const changed = () => {
      const edits = {};
      element.querySelectorAll("[data-field]").forEach((field) => {
        const value = field.type === "checkbox" ? String(field.checked) : field.value;
        if (value !== field.dataset.preset) edits[field.dataset.field] = value;
        field.closest(".setting").classList.toggle("edited", value !== field.dataset.preset);
      });
      trigger("input", { edits });
    };
    element.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(changed, 400); });

    // What is wrong stands in a list; the fields that it names are marked.
    const mark = () => {
      const words = new Set((document.querySelector("#new-problems")?.textContent ?? "").match(/[a-z_]+(\.[a-z_]+)?/g) ?? []);
      element.querySelectorAll("[data-field]").forEach((field) => {
        const name = field.dataset.field;
        field.closest(".setting").classList.toggle("wrong", words.has(name) || words.has(name.replace("schedule.", "")));
      });
    };
    const watched = document.querySelector("#new-problems");
    for (const place of [element, watched]) {
      if (place) new MutationObserver(mark).observe(place, { childList: true, subtree: true });
    }
  };

  // Buttons inside HTML: their data-act and what else they carry go to the page.
  // What a user opened or closed stays so when the content is written anew, which Gradio does in place.
  const keepOpen = (element) => {
    const wanted = new Map();
    const key = (part) => part.closest("[data-path]")?.dataset.path ?? part.dataset.name;
    const keep = (part) => {
      const isOpen = wanted.get(key(part));
      if (isOpen !== undefined && part.open !== isOpen) part.open = isOpen;
    };
    element.addEventListener("click", ({ target }) => {
      const part = target.closest("summary")?.parentElement;
      if (part) wanted.set(key(part), !part.open);
    });
    element.addEventListener("toggle", ({ target }) => keep(target), true);
    new MutationObserver(() => element.querySelectorAll("details").forEach(keep)).observe(element, { childList: true, subtree: true });
  };

  const buttons = (element, trigger) => {
    keepOpen(element);
    element.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-act]");
      if (!button || !isSure(button)) return;
      const name = button.dataset.act === "chat" ? "select" : ["train", "all"].includes(button.dataset.act) ? "copy" : "input";
      const fields = button.closest("[data-form]")?.querySelectorAll("[name]") ?? [];
      trigger(name, { ...button.dataset, ...Object.fromEntries([...fields].map((one) => [one.name, one.value])) });
    });
  };

  // A file of pairs is sent as it is; what became of its rows is shown, and the pairs anew.
  const pairFiles = (element, trigger) => {
    element.addEventListener("change", async (event) => {
      const [file] = event.target.files ?? [];
      const place = element.querySelector(".import-report");
      if (!file) return;
      place.textContent = element.querySelector(".pair-files").dataset.busy;
      const query = new URLSearchParams({ name: file.name, language: language() });
      try {
        const headers = { "content-type": "application/octet-stream" };
        const response = await fetch(`/studio/preferences?${query}`, { method: "POST", body: file, headers });
        if (response.ok) place.innerHTML = await response.text();
        else place.textContent = (await response.json()).error ?? response.statusText;
      } catch (error) { place.textContent = error.message; }
      event.target.value = "";
      trigger("input", {});
    });
  };

  const go = (run) => dispatchEvent(new CustomEvent("astrai-run", { detail: run }));
  return { runs, settings, buttons, pairFiles, go };
})();
