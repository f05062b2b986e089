// The page of a trace: one selected call and one step, shown in three views that follow each other.
// All walks use their own stack and all views are bounded, because a trace may be 100,000 calls deep or wide.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const { calls, steps, summary } = data;
const PAGE_ROWS = 500, MOST_BARS = 3000, MOST_LANES = 40, LANE_HEIGHT = 20, MOST_INDENT = 24;

const by = (id) => document.getElementById(id);
const number = (n) => n.toLocaleString("en");

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function time(ns) {
  if (ns < 1000) return `${ns} ns`;
  if (ns < 999950) return `${(ns / 1e3).toFixed(1)} µs`;
  if (ns < 999950000) return `${(ns / 1e6).toFixed(1)} ms`;
  return `${(ns / 1e9).toFixed(1)} s`;
}

const label = (call) => `${call.function}(${call.args})`;

// ---- What the calls have to do with each other.

const roots = [];
const children = calls.map(() => []);
const stepOf = calls.map(() => -1);
calls.forEach((call, i) => (call.parent === null ? roots : children[call.parent]).push(i));
steps.forEach((step, i) => { stepOf[step.call] = i; });

const collapsed = new Set();
const whole = { from: 0, to: Math.max(1, data.took_ns), lane: 0 };
// `visible` are the calls not folded away, of which the rows from `firstRow` on are in the page.
let selected = -1, currentStep = 0, visible = [], firstRow = 0, view = whole;

// ---- Header.

function showHeader() {
  const threads = new Set(calls.map((call) => call.thread)).size;
  const saved = summary.saved_ns ? ` · about ${time(summary.saved_ns)} saved` : "";
  by("totals").textContent =
    `${number(calls.length)} ${calls.length === 1 ? "call" : "calls"} · ${number(threads)} ${threads === 1 ? "thread" : "threads"} · ${time(data.took_ns)}${saved}`;
  const counts = new Map();
  for (const call of calls) counts.set(call.outcome, (counts.get(call.outcome) ?? 0) + 1);
  for (const outcome of ["hit", "miss", "wait", "stale", "bypass", "failed", "unfinished"]) {
    if (!counts.has(outcome)) continue;
    const item = make("li", "", `${outcome} ${number(counts.get(outcome))}`);
    item.dataset.outcome = outcome;
    by("legend").append(item);
  }
}

// ---- Tree.

function walk() {
  visible = [];
  const pending = [...roots].reverse();
  while (pending.length) {
    const i = pending.pop();
    visible.push(i);
    if (!collapsed.has(i)) for (let c = children[i].length - 1; c >= 0; c--) pending.push(children[i][c]);
  }
}

function row(i) {
  const call = calls[i], hasChildren = children[i].length > 0;
  const element = make("div", "call");
  element.id = `call-${i}`;
  element.dataset.outcome = call.outcome;
  element.setAttribute("role", "treeitem");
  element.setAttribute("aria-level", call.depth + 1);
  element.setAttribute("aria-selected", i === selected);
  if (hasChildren) element.setAttribute("aria-expanded", !collapsed.has(i));
  element.tabIndex = i === selected || (selected < 0 && i === visible[0]) ? 0 : -1;
  element.style.paddingLeft = `${Math.min(call.depth, MOST_INDENT) * 1.1}rem`;
  const twist = make("span", "twist", hasChildren ? (collapsed.has(i) ? "▸" : "▾") : "");
  if (hasChildren) twist.addEventListener("click", (event) => { event.stopPropagation(); toggle(i); });
  const text = make("span", "label", (call.depth > MOST_INDENT ? `[level ${number(call.depth)}] ` : "") + label(call));
  if (call.result !== null) text.append(make("span", "result", ` = ${call.result}`));
  element.append(twist, text);
  if (call.thread) element.append(make("span", "thread-name", `thread ${call.thread}`));
  element.append(make("span", "outcome", call.outcome), make("span", "time", call.outcome === "hit" ? "" : time(call.took_ns)));
  element.addEventListener("click", () => select(i));
  return element;
}

function showTree() {
  walk();
  firstRow = Math.max(0, Math.min(firstRow, visible.length - PAGE_ROWS));
  const after = visible.length - firstRow - PAGE_ROWS;
  by("tree").replaceChildren(...visible.slice(firstRow, firstRow + PAGE_ROWS).map(row));
  by("earlier").hidden = firstRow === 0;
  by("earlier").textContent = `${number(firstRow)} calls before these`;
  by("later").hidden = after <= 0;
  by("later").textContent = `${number(after)} calls after these`;
}

function toggle(i) {
  if (!collapsed.delete(i)) collapsed.add(i);
  showTree();
  bringIntoSight(i, true);
}

function collapseBelow(depth) {
  collapsed.clear();
  children.forEach((below, i) => { if (below.length && calls[i].depth >= depth) collapsed.add(i); });
  showTree();
}

function reveal(i) {
  let hidden = false;
  for (let p = calls[i].parent; p !== null; p = calls[p].parent) hidden = collapsed.delete(p) || hidden;
  if (hidden) showTree();
  const position = visible.indexOf(i);
  if (position >= firstRow && position < firstRow + PAGE_ROWS) return;
  firstRow = position - PAGE_ROWS / 2;
  showTree();
}

// Scrolls the tree alone: with `scrollIntoView` the page would move away under the slider.
function bringIntoSight(i, focus) {
  const chosen = by(`call-${i}`), tree = by("tree");
  if (!chosen) return;
  if (focus) chosen.focus({ preventScroll: true });
  const { top, bottom } = chosen.getBoundingClientRect(), frame = tree.getBoundingClientRect();
  if (top < frame.top) tree.scrollTop -= frame.top - top;
  if (bottom > frame.top + tree.clientHeight) tree.scrollTop += bottom - frame.top - tree.clientHeight;
}

function keyInTree(event) {
  const position = visible.indexOf(selected), i = visible[Math.max(0, position)];
  const open = children[i]?.length && !collapsed.has(i);
  const goals = {
    ArrowDown: () => visible[position + 1],
    ArrowUp: () => visible[position - 1],
    Home: () => visible[0],
    End: () => visible[visible.length - 1],
    ArrowRight: () => (open ? children[i][0] : void (children[i]?.length && toggle(i))),
    ArrowLeft: () => (open ? void toggle(i) : calls[i]?.parent ?? undefined),
    Enter: () => void (children[i]?.length && toggle(i)),
  };
  if (!goals[event.key] || i === undefined) return;
  event.preventDefault();
  const goal = goals[event.key]();
  if (goal === undefined) return;
  select(goal);
  bringIntoSight(goal, true);
}

// ---- Timeline.

// Each call gets the first lane below its parent's that is free when it begins: calls of async tasks may overlap.
const lanes = (() => {
  const ends = new Map(), lane = [];
  calls.forEach((call, i) => {
    if (!ends.has(call.thread)) ends.set(call.thread, []);
    const busy = ends.get(call.thread);
    const nested = call.parent !== null && calls[call.parent].thread === call.thread;
    let at = nested ? lane[call.parent] + 1 : 0;
    while (busy[at] > call.started_ns) at++;
    busy[at] = call.started_ns + call.took_ns;
    lane[i] = at;
  });
  return lane;
})();

function bar(i) {
  const call = calls[i], { from, to, lane } = view, span = to - from;
  const left = Math.max(0, (call.started_ns - from) / span), right = Math.min(1, (call.started_ns + call.took_ns - from) / span);
  const element = make("div", right - left < 0.02 ? "bar narrow" : "bar", right - left < 0.02 ? "" : label(call));
  element.dataset.outcome = call.outcome;
  element.dataset.call = i;
  element.title = `${label(call).slice(0, 200)}\n${call.outcome}, ${time(call.took_ns)}`;
  element.style.left = `${left * 100}%`;
  element.style.width = `${(right - left) * 100}%`;
  element.style.top = `${(lanes[i] - lane) * LANE_HEIGHT}px`;
  element.setAttribute("aria-current", i === selected);
  element.addEventListener("click", () => { select(i); bringIntoSight(i, false); });
  return element;
}

function showTimeline() {
  const { from, to, lane } = view;
  const inside = [...calls.keys()].filter((i) => lanes[i] >= lane && lanes[i] < lane + MOST_LANES && calls[i].started_ns <= to && calls[i].started_ns + calls[i].took_ns >= from);
  const drawn = inside.length > MOST_BARS ? inside.sort((a, b) => calls[b].took_ns - calls[a].took_ns).slice(0, MOST_BARS) : inside;
  const threads = [...new Set(calls.map((call) => call.thread))].sort((a, b) => a - b);
  by("threads").replaceChildren(...threads.map((thread) => {
    const own = drawn.filter((i) => calls[i].thread === thread);
    const area = make("div", "lanes");
    area.style.height = `${(own.reduce((most, i) => Math.max(most, lanes[i] - lane), 0) + 1) * LANE_HEIGHT}px`;
    area.append(...own.map(bar));
    const line = make("div", "thread");
    line.append(make("span", "thread-name", `thread ${thread}`), area);
    return line;
  }));
  const left = calls.length - drawn.length;
  by("range").textContent = `${time(from)} to ${time(to)}${left ? `, ${number(left)} calls not drawn` : ""}`;
  by("whole").disabled = view === whole;
}

// ---- Cache after a step.

// A key is new or gone only if the list that lacks it is complete.
const lacks = (state, key) => state.more_keys === 0 && !state.keys.includes(key);

function statesAt(step) {
  const now = new Map(), before = new Map();
  for (let s = 0; s <= step; s++) {
    const { call, state } = steps[s], name = calls[call].function;
    if (now.has(name)) before.set(name, now.get(name));
    if (state) now.set(name, state);
  }
  return { now, before };
}

function keys(state, before) {
  const cell = make("td", "keys");
  cell.colSpan = 4;
  for (const key of state.keys) {
    const isNew = before && lacks(before, key);
    cell.append(make("span", isNew ? "key new" : "key", (isNew ? "+" : "") + key));
  }
  for (const key of before?.keys ?? []) if (lacks(state, key)) cell.append(make("span", "key gone", `−${key}`));
  if (state.more_keys) cell.append(make("span", "", `… ${number(state.more_keys)} more`));
  if (!cell.childNodes.length) cell.append("no entries");
  return cell;
}

function showStep() {
  by("step").value = currentStep + 1;
  by("step-number").textContent = steps.length ? `${number(currentStep + 1)} of ${number(steps.length)}` : "0";
  by("back").disabled = currentStep <= 0;
  by("forth").disabled = currentStep >= steps.length - 1;
  if (!steps.length) return;
  const { now, before } = statesAt(currentStep);
  const changed = calls[steps[currentStep].call].function;
  by("caches").replaceChildren(...[...now].flatMap(([name, state]) => {
    const head = make("tr", name === changed ? "now" : ""), below = make("tr", head.className);
    head.append(make("td", "", name));
    for (const n of [state.entries, state.weight, state.capacity]) head.append(make("td", "number", n === null ? "–" : number(n)));
    below.append(keys(state, name === changed ? before.get(name) : undefined));
    return [head, below];
  }));
}

function showDetail() {
  const call = calls[selected];
  if (!call) return;
  const facts = [["call", label(call)], ["result", call.result ?? "–"], ["outcome", call.outcome], ["began", `${time(call.started_ns)}, thread ${call.thread}`], ["took", time(call.took_ns)]];
  by("detail").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
  by("detail").children[5].dataset.outcome = call.outcome;
}

// ---- Selection ties the views together.

function select(i) {
  document.querySelector('[aria-selected="true"]')?.setAttribute("aria-selected", false);
  document.querySelector('.bar[aria-current="true"]')?.setAttribute("aria-current", false);
  selected = i;
  reveal(i);
  const chosen = by(`call-${i}`);
  chosen?.setAttribute("aria-selected", true);
  // One call at a time can be reached with Tab; the arrow keys go on from there.
  for (const reachable of by("tree").querySelectorAll('[tabindex="0"]')) reachable.tabIndex = -1;
  if (chosen) chosen.tabIndex = 0;
  document.querySelector(`.bar[data-call="${i}"]`)?.setAttribute("aria-current", true);
  if (stepOf[i] >= 0) currentStep = stepOf[i];
  by("zoom").disabled = false;
  showStep();
  showDetail();
}

function goToStep(step) {
  if (!steps.length) return;
  currentStep = Math.min(Math.max(0, step), steps.length - 1);
  select(steps[currentStep].call);
  bringIntoSight(selected, false);
}

by("tree").addEventListener("keydown", keyInTree);
by("earlier").addEventListener("click", () => { firstRow -= PAGE_ROWS; showTree(); });
by("later").addEventListener("click", () => { firstRow += PAGE_ROWS; showTree(); });
by("expand").addEventListener("click", () => collapseBelow(Infinity));
by("collapse").addEventListener("click", () => collapseBelow(0));
by("step").addEventListener("input", (event) => goToStep(event.target.value - 1));
by("back").addEventListener("click", () => goToStep(currentStep - 1));
by("forth").addEventListener("click", () => goToStep(currentStep + 1));
by("whole").addEventListener("click", () => { view = whole; showTimeline(); });
by("zoom").addEventListener("click", () => {
  const { started_ns, took_ns } = calls[selected];
  view = { from: started_ns, to: started_ns + Math.max(1, took_ns), lane: lanes[selected] };
  showTimeline();
});

by("step").max = Math.max(1, steps.length);
by("step").disabled = by("zoom").disabled = steps.length === 0;
showHeader();
// A large trace opens folded: the top is what one reads first.
collapseBelow(calls.length > PAGE_ROWS ? 3 : Infinity);
showTimeline();
showStep();
if (calls.length) select(0);
else by("tree").textContent = "No memoized function was called.";
