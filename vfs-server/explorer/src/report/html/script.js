"use strict";
// The page of one run. `run` is what html/mod.rs wrote; nothing is loaded, nothing is stored but the theme.

const run = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
/** Lanes that are drawn have the first colours. */
const colour = (lane) => `var(--lane-${(drawnLanes.includes(lane) ? drawnLanes.indexOf(lane) : lane) % 8})`;

/** An element with a class, a text or children, and perhaps a lane's colour. */
function element(tag, { kind = "", text = "", children = [], lane = null, title = "" } = {}) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text !== "") made.textContent = text;
  if (title) made.title = title;
  if (lane !== null) made.style.setProperty("--colour", colour(lane));
  made.append(...children);
  return made;
}

// ---------------------------------------------------------------- the run, event by event

const laneName = (lane) => run.lanes[lane].name;
const lockName = (lock) => run.locks[lock].name;
/** Locks that somebody waited for, and the acquisitions and releases that this is about. */
const contended = new Set(run.events.filter((e) => e.kind === "waits" && e.lock !== undefined).map((e) => e.lock));
const aboutWaits = (() => {
  const about = new Set();
  const taken = new Map();
  const wanted = run.locks.map(() => new Set());
  for (const event of run.events) {
    const holders = taken.get(event.lock) ?? new Map();
    if (event.kind === "acquires") {
      if (wanted[event.lock].delete(event.lane)) about.add(event);
      taken.set(event.lock, holders.set(event.lane, event));
    } else if (event.kind === "releases") {
      holders.delete(event.lane);
      if (wanted[event.lock].size) about.add(event);
    } else if (event.kind === "waits" && event.lock !== undefined) {
      holders.forEach((acquisition) => about.add(acquisition));
      wanted[event.lock].add(event.lane);
    }
  }
  return about;
})();

/** Events by which a task says that it has nothing to do: nothing to show unless everything is. */
const idle = (() => {
  const depths = run.lanes.map(() => 0);
  return new Set(run.events.filter((event) => {
    if (event.kind === "begins") depths[event.lane] += 1;
    if (event.kind === "ends") depths[event.lane] -= 1;
    return event.kind === "waits" && event.lock === undefined && depths[event.lane] <= 0;
  }));
})();

/** What an event is in words, and how much it matters: "always" or "all" (only when everything is shown). */
function words(event) {
  const holder = event.holder === null || event.holder === undefined ? "" : ` (${laneName(event.holder)})`;
  const locks = aboutWaits.has(event) ? "always" : "all";
  switch (event.kind) {
    case "begins": return { text: event.words, kind: "operation", shown: "always" };
    case "ends": return { text: `= ${event.words}`, kind: "operation", shown: event.words ? "always" : "all" };
    case "serves": return { text: event.client === null ? "has answered" : `serves ${laneName(event.client)}`, kind: "lock", shown: "all" };
    case "tells": return { text: event.words, kind: "", shown: "always" };
    case "acquires": return { text: `takes ${lockName(event.lock)}`, kind: "lock", shown: locks };
    case "releases": return { text: `releases ${lockName(event.lock)}`, kind: "lock", shown: locks };
    case "waits": return {
      text: `waits for ${event.lock === undefined ? event.words : lockName(event.lock)}${holder}`, kind: "wait",
      shown: idle.has(event) ? "all" : "always" };
    case "chooses": return {
      text: `! ${event.site} (injected${event.of > 2 ? `: ${event.value} of 0..${event.of}` : ""})`, kind: "injected", shown: "always" };
    case "rests": return { text: "all has ended: everything is written back, dropped and read again", kind: "lock", shown: "all" };
    case "folio": return {
      text: `${run.folios[event.folio]}: ${event.state ? event.state.words : "not in the cache"}`, kind: "lock", shown: "all" };
    default: return { text: "runs", kind: "lock", shown: "all" };
  }
}

/** The state of everything after each event. */
function history() {
  const lanes = run.lanes.map(() => ({ operations: [], holds: [], waits: null }));
  const folios = run.folios.map(() => null);
  let runs = null;
  return run.events.map((event) => {
    const lane = lanes[event.lane];
    runs = event.lane;
    if (event.kind !== "folio" && event.kind !== "waits") lane.waits = null;
    const depth = event.kind === "ends" ? Math.max(0, lane.operations.length - 1) : lane.operations.length;
    if (event.kind === "begins") lane.operations.push(event.words);
    if (event.kind === "ends") lane.operations.pop();
    if (event.kind === "acquires") lane.holds.push(event.lock);
    if (event.kind === "releases") lane.holds.splice(lane.holds.indexOf(event.lock), 1);
    if (event.kind === "waits") lane.waits = event;
    if (event.kind === "folio") folios[event.folio] = event.state;
    return {
      depth, runs, folios: [...folios],
      lanes: lanes.map((each) => ({ operations: [...each.operations], holds: [...each.holds], waits: each.waits })),
    };
  });
}
const states = history();

/** Where the clients have ended and the rest is only checking, unless it is what broke. */
const restsAt = run.broken && run.broken.lane !== null && run.broken.lane !== run.events.find((e) => e.kind === "rests")?.lane
  ? -1 : run.events.findIndex((e) => e.kind === "rests");

/** The rows of the table: the events that are shown, each with what was skipped before it. */
function visible(all) {
  const rows = [];
  let preempts = false;
  const end = all ? -1 : restsAt;
  run.events.forEach((event, index) => {
    if (end >= 0 && index > end) return;
    preempts = preempts || (event.kind === "runs" && event.switch === "preempts");
    const said = words(event);
    if (said.shown === "all" && !all) {
      // Folios and locks that changed after the last shown event show in its row.
      if (rows.length && event.kind !== "runs") rows[rows.length - 1].until = index;
      return;
    }
    if (all && event.kind === "runs" && run.events[index + 1]?.step === event.step) return;
    rows.push({ event, index, until: index, said, preempts });
    preempts = false;
  });
  if (run.broken && rows.length) {
    const last = rows[rows.length - 1];
    const lane = run.broken.lane ?? last.event.lane;
    const said = { text: `*** ${run.broken.kind}`, kind: "failed", shown: "always" };
    if (run.broken.lane !== null) {
      rows.push({ event: { step: last.event.step, lane }, index: last.until, until: last.until, said, preempts: false });
    }
  }
  return rows;
}

// ---------------------------------------------------------------- the table

/** Lanes of which something is shown; if nothing at all is, all of them. */
const drawnLanes = run.lanes.map((_, lane) => lane)
  .filter((lane) => run.events.some((e, index) => e.lane === lane && words(e).shown === "always" && (restsAt < 0 || index <= restsAt)));
/** Locks that were held while another task did something: those that can matter. */
const spanning = (() => {
  const held = new Map();
  const spans = new Set();
  for (const event of run.events) {
    for (const [lock, lane] of held) if (lane !== event.lane && words(event).shown === "always") spans.add(lock);
    if (event.kind === "acquires") held.set(event.lock, event.lane);
    if (event.kind === "releases") held.delete(event.lock);
  }
  return spans;
})();
let rows = [];
let cursor = 0;

function drawnLocks(all) {
  const locks = run.locks.map((_, lock) => lock);
  return locks.filter((lock) => all || contended.has(lock) || (spanning.has(lock) && run.locks[lock].class !== "worker slot"));
}

/** Folios that are in the cache in some row, by name. */
function drawnFolios() {
  const folios = run.folios.map((_, folio) => folio).filter((folio) => rows.some((row) => states[row.until].folios[folio]));
  return folios.sort((a, b) => run.folios[a].localeCompare(run.folios[b], undefined, { numeric: true }));
}

function head(locks, folios) {
  const cells = [element("th", { text: "step" })];
  for (const lane of drawnLanes) {
    const { name, role } = run.lanes[lane];
    cells.push(element("th", { kind: "lane", lane, children: [name, ...(role ? [element("span", { kind: "role", text: role })] : [])] }));
  }
  const narrow = (name, index) =>
    element("th", { kind: index === 0 ? "narrow group" : "narrow", title: name, children: [element("div", { text: name })] });
  cells.push(...locks.map((lock, index) => narrow(lockName(lock), index)));
  cells.push(...folios.map((folio, index) => narrow(run.folios[folio], index)));
  return element("thead", { children: [element("tr", { children: cells })] });
}

/** Who holds and who waits for a lock. */
function around(state, lock) {
  const lanes = state === undefined ? [] : state.lanes.map((each, lane) => ({ each, lane }));
  return {
    held: lanes.filter(({ each }) => each.holds.includes(lock)).map(({ lane }) => lane),
    waits: lanes.filter(({ each }) => each.waits && each.waits.lock === lock).map(({ lane }) => lane),
  };
}

function lockCell(lock, column, at) {
  const here = around(states[rows[at].until], lock);
  const before = around(states[rows[at - 1]?.until], lock);
  const after = around(states[rows[at + 1]?.until], lock);
  const cell = element("td", { kind: column === 0 ? "bar group" : "bar" });
  for (const kind of ["waits", "held"]) {
    for (const lane of here[kind]) {
      const ends = `${before[kind].includes(lane) ? "" : " begins"}${after[kind].includes(lane) ? "" : " ends"}`;
      const said = `${laneName(lane)} ${kind === "held" ? "holds" : "waits for"} ${lockName(lock)}`;
      cell.append(element("div", { kind: kind + ends, lane, title: said }));
    }
  }
  return cell;
}

function folioCell(folio, column, at) {
  const state = states[rows[at].until].folios[folio];
  const before = at > 0 ? states[rows[at - 1].until].folios[folio] : null;
  const cell = element("td", { kind: column === 0 ? "folio group" : "folio" });
  const changed = JSON.stringify(state) !== JSON.stringify(before);
  if (state) {
    const look = state.writeback ? "writeback" : state.dirty ? "dirty" : state.uptodate ? "clean" : "empty";
    const title = `${run.folios[folio]}: ${state.words}`;
    cell.append(element("div", { kind: `state ${look} ${state.mapped}${before ? "" : " begins"}`, title }));
    if (changed) cell.append(element("div", { kind: "letter", text: (state.writeback ? "W" : state.dirty ? "D" : state.uptodate ? "u" : ""), title }));
  } else if (before) {
    cell.classList.add("gone");
    cell.title = `${run.folios[folio]} leaves the cache`;
  }
  return cell;
}

function body(locks, folios) {
  let last = null;
  const lines = rows.map((row, at) => {
    const { event, said } = row;
    const depth = row.said.kind === "failed" ? states[row.index].lanes[event.lane].operations.length : states[row.index].depth;
    const cells = [element("td", { kind: "number", text: event.step === last ? "" : event.step })];
    last = event.step;
    for (const lane of drawnLanes) {
      const mine = lane === event.lane;
      const cell = element("td", { kind: mine ? "words mine" : "words", lane });
      if (mine) {
        const line = element("span", { kind: `line ${said.kind}`, text: said.text });
        line.style.setProperty("--depth", depth);
        cell.append(line);
      }
      cells.push(cell);
    }
    cells.push(...locks.map((lock, column) => lockCell(lock, column, at)));
    cells.push(...folios.map((folio, column) => folioCell(folio, column, at)));
    const line = element("tr", { kind: row.preempts ? "preempts" : "", children: cells });
    line.addEventListener("click", () => select(at));
    return line;
  });
  return element("tbody", { children: lines });
}

function draw() {
  const index = rows[cursor]?.index ?? 0;
  const all = byId("all").checked;
  rows = visible(all);
  const locks = drawnLocks(all);
  const folios = drawnFolios();
  byId("steps").replaceChildren(head(locks, folios), body(locks, folios));
  select(Math.max(0, rows.findLastIndex((row) => row.index <= index)));
}

// ---------------------------------------------------------------- one step

function select(at) {
  if (rows.length === 0) return;
  cursor = Math.min(Math.max(at, 0), rows.length - 1);
  const lines = byId("steps").tBodies[0].rows;
  for (let index = 0; index < lines.length; index += 1) {
    lines[index].classList.toggle("cursor", index === cursor);
    lines[index].classList.toggle("later", index > cursor);
  }
  lines[cursor].scrollIntoView({ block: "nearest" });
  nameStep(rows[cursor].event.step);
  now(rows[cursor]);
}

/** The address names the step, so that it can be passed on. */
function nameStep(step) {
  try { window.history.replaceState(null, "", `#${step}`); } catch { /* not for files in every browser */ }
}

function card(lane, state, runs) {
  const { operations, holds, waits } = state.lanes[lane];
  const lines = [element("b", { text: laneName(lane) })];
  if (runs) lines.unshift(element("span", { kind: "runs", text: "runs" }));
  lines.push(element("div", { text: operations.length ? `in ${operations.join(" > ")}` : "in no operation" }));
  if (holds.length) lines.push(element("div", { text: `holds ${holds.map(lockName).join(", ")}` }));
  if (waits) lines.push(element("div", { kind: "wait", text: words(waits).text }));
  const quiet = !operations.length && !holds.length && !waits && !runs;
  return element("div", { kind: quiet ? "card quiet" : "card", lane, children: lines });
}

function now(row) {
  const state = states[row.until];
  const children = [element("h3", { text: `After step ${row.event.step}` })];
  children.push(...drawnLanes.map((lane) => card(lane, state, lane === state.runs)));
  const folios = drawnFolios();
  if (folios.length) {
    const cells = folios.flatMap((folio) => [
      element("span", { text: run.folios[folio] }),
      element("span", { text: state.folios[folio] ? state.folios[folio].words : "not in the cache" }),
    ]);
    children.push(element("div", { kind: "folios", children: cells }));
  }
  byId("now").replaceChildren(...children);
}

/** To the next or last place where another task runs. */
function toSwitch(direction) {
  let at = cursor + direction;
  while (rows[at] && rows[at - 1] && rows[at].event.lane === rows[at - 1].event.lane) at += direction;
  select(at);
}

// ---------------------------------------------------------------- around the table

function titles() {
  const { experiment, variant, scenario, replay } = run.title;
  byId("title").replaceChildren(experiment, element("span", { kind: "variant", text: ` ${variant}` }));
  byId("scenario").textContent = scenario;
  if (replay) byId("replay").replaceChildren("replay: ", element("code", { text: replay }));
  const box = byId("broken");
  box.hidden = false;
  if (run.broken) {
    const details = run.broken.details.map((line) => element("li", { text: line }));
    box.append(element("h2", { text: `${run.broken.kind}: ${run.broken.summary}` }), element("ul", { children: details }));
  } else {
    box.classList.add("fine");
    box.append(element("h2", { text: "Nothing broke in this run." }));
  }
}

function legend() {
  const entry = (look, text) => element("div", { children: [element("span", { kind: `sample ${look}` }), text] });
  const lines = [];
  if (run.locks.length) {
    lines.push("A bar in a lock's column: it is held, in the colour of its holder; dotted sides: waited for.");
  }
  if (run.folios.length) {
    lines.push(entry("clean", "u: uptodate and clean"), entry("dirty", "D: dirty"), entry("writeback", "W: being written"),
      entry("empty", "in the cache, not uptodate"), "A red stroke: it left the cache. A red edge: clients may store to it; a grey one: they may read it.");
  }
  lines.push("Dashed red line: a task was switched away from that could have gone on.");
  byId("legend").replaceChildren(...lines.map((line) => (typeof line === "string" ? element("div", { text: line }) : line)));
}

function theme() {
  const dark = !document.documentElement.classList.contains("dark");
  document.documentElement.classList.toggle("dark", dark);
}

const go = {
  first: () => select(0),
  last: () => select(rows.length - 1),
  next: () => select(cursor + 1),
  back: () => select(cursor - 1),
  switch: () => toSwitch(1),
};
const keys = {
  ArrowDown: go.next, j: go.next, " ": go.next, ArrowUp: go.back, k: go.back, Home: go.first, End: go.last,
  n: go.switch, p: () => toSwitch(-1), a: () => byId("all").click(), t: theme,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("diagram").open) return;
  const act = keys[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});
document.querySelectorAll("[data-go]").forEach((button) => button.addEventListener("click", () => go[button.dataset.go]()));
byId("all").addEventListener("change", draw);
byId("theme").addEventListener("click", theme);
byId("text").addEventListener("click", () => byId("diagram").showModal());
byId("close").addEventListener("click", () => byId("diagram").close());
byId("copy").addEventListener("click", () => navigator.clipboard?.writeText(byId("diagram").querySelector("pre").textContent));

if (window.matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.classList.add("dark");
titles();
legend();
draw();
const asked = Number.parseInt(window.location.hash.slice(1), 10);
// Without a step in the address: how it ended.
select(asked > 0 ? rows.findLastIndex((row) => row.event.step <= asked) : rows.length - 1);
