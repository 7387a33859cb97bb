"use strict";
// The node as it is told: at once by what the page holds, or live by /stream. Text from outside is only ever textContent.

const SAMPLES = 60;
const ROWS = 500; // more are shown when that is wished: a browser takes seconds to lay thousands out
const EVENTS = 100;
const AGAIN_MS = 5000;
const WAITING = new Set(["Pending", "Retrying", "Detaching"]);
const $ = (id) => document.getElementById(id);

const told = JSON.parse($("data").textContent);
const attachments = new Map(); // by key, what an Attachment of the contract holds
const rows = new Map(); // by key, the table's row and its cells
const series = new Map(); // by key, or "" for all: [{at, received, sent}]
let chosen = "";
let complete = false;
let live = false;
let pictureIsOld = false;
let all = false; // whether rows beyond the first are shown

function make(name, text, look) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (look) made.className = look;
  return made;
}

// As the commands and the log have it, whatever the browser's language: nobody compares 12-hour times at night.
function moment(at) {
  const it = new Date(at * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${it.getFullYear()}-${two(it.getMonth() + 1)}-${two(it.getDate())}`;
  return `${day} ${two(it.getHours())}:${two(it.getMinutes())}:${two(it.getSeconds())}`;
}

const duration = (seconds) => (seconds < 1 ? `${(seconds * 1000).toFixed(1)} ms` : `${seconds.toFixed(1)} s`);

const { compare } = new Intl.Collator("en", { numeric: true });
const inOrder = () => [...attachments.keys()].sort(compare);
const keyOf = (it) => `${it.workload_id}/${it.if_name}` + (Number(it.generation) ? "" : ` (${it.source})`);
const reason = (it) => (it.message ? `${it.reason}: ${it.message}` : it.reason);

function look(it) {
  if (it.phase === "Attached") return it.unmet.length ? "waiting" : "good";
  return WAITING.has(it.phase) ? "waiting" : "bad";
}

function rate(bits) {
  for (const [factor, suffix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (bits >= factor) return `${(bits / factor).toPrecision(3)} ${suffix}bit/s`;
  return `${Math.round(bits)} bit/s`;
}

function port(it) {
  const end = it.host_port_end > it.host_port ? `-${it.host_port_end}` : "";
  const where = it.host_ip ? `${it.host_ip.includes(":") ? `[${it.host_ip}]` : it.host_ip}:` : "";
  return `${where}${it.host_port}${end} → ${it.container_port}/${it.protocol}`;
}

function carried(it) {
  const limits = it.bandwidth || {};
  return [
    ...it.port_mappings.map(port),
    ...(Number(limits.ingress_rate) ? [`receives at most ${rate(Number(limits.ingress_rate))}`] : []),
    ...(Number(limits.egress_rate) ? [`sends at most ${rate(Number(limits.egress_rate))}`] : []),
  ].join(", ");
}

const labels = (it) => Object.entries(it.labels).map(([key, value]) => `${key}=${value}`).sort().join(" ");

function words(it) {
  return [
    keyOf(it), it.phase, ...it.addresses, labels(it), carried(it), it.source, it.node_if_name, it.netns_path, it.mac,
    it.container_id, ...it.unmet.map(reason),
  ].join(" ").toLowerCase();
}

// The table

function row(key) {
  let found = rows.get(key);
  if (found) return found;
  const element = make("tr");
  const cells = ["", "", "", "", "", "from", "receives", "sends"].map((label) => {
    const cell = make("td");
    if (label) cell.dataset.label = label;
    element.append(cell);
    return cell;
  });
  cells[6].className = cells[7].className = "number";
  const name = make("button", key);
  name.type = "button";
  cells[0].append(name);
  element.addEventListener("click", () => choose(key));
  found = { element, cells };
  rows.set(key, found);
  return found;
}

function fill(key, it) {
  const { element, cells } = row(key);
  element.words = words(it);
  cells[1].replaceChildren(make("span", it.phase, look(it)), ...it.unmet.map((why) => make("div", reason(why), "bad")));
  const texts = [it.addresses.join(" "), labels(it), carried(it), it.source];
  texts.forEach((text, at) => { if (cells[at + 2].textContent !== text) cells[at + 2].textContent = text; });
  return element;
}

function put(it) {
  const key = keyOf(it);
  const isNew = !attachments.has(key);
  attachments.set(key, it);
  const element = fill(key, it);
  if (complete && isNew) insert(key, element);
  if (key === chosen && complete) describe(key);
}

function insert(key, element) {
  const keys = inOrder();
  const next = rows.get(keys[keys.indexOf(key) + 1]);
  $("rows").insertBefore(element, next && next.element.parentNode ? next.element : null);
}

function remove(it) {
  const key = keyOf(it);
  attachments.delete(key);
  series.delete(key);
  const found = rows.get(key);
  if (found) found.element.remove();
  rows.delete(key);
  if (key === chosen) choose("");
}

function showAll() {
  $("rows").replaceChildren(...inOrder().map((key) => rows.get(key).element));
}

// The filter

const wanted = () => $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);

function filter() {
  const parts = wanted();
  let count = 0;
  for (const element of $("rows").children) {
    element.away = !parts.every((part) => element.words.includes(part));
    if (!element.away) count++;
    element.hidden = element.away || (count > ROWS && !all);
  }
  for (const box of $("picture").querySelectorAll("[data-key]")) {
    const found = rows.get(box.dataset.key);
    box.classList.toggle("away", Boolean(found) && found.element.away);
  }
  const cut = count > ROWS && !all;
  $("all").hidden = !cut;
  $("shown").textContent = cut ? `the first ${ROWS} of ${count}` : parts.length ? `${count} of ${attachments.size}` : "";
}

// The node

// Conditions that are no obstacles by themselves, and yet may be what somebody looks for.
function notes(status) {
  const told = new Set(status.unmet.map((it) => it.reason));
  return status.conditions.filter((it) => it.status && it.message && !told.has(it.type));
}

function showStatus(status) {
  showState(status);
  $("problems").replaceChildren(
    ...(status.uplinks.length ? [] : [make("li", "no uplink: nothing leads out of this node")]),
    ...status.unmet.filter((it) => !it.workload_id).map((it) => make("li", reason(it))),
    ...notes(status).map((it) => make("li", `${it.type}: ${it.message}`, "waiting")),
  );
  $("pools").replaceChildren(...status.pools.map((pool) => {
    const shown = make("span", `${pool.name}: ${pool.held} held `);
    const meter = make("meter");
    meter.max = Number(pool.size);
    meter.high = meter.max * 0.9;
    meter.value = Number(pool.held);
    shown.append(meter);
    return shown;
  }));
  const uplinks = status.uplinks.map((it) => [it.name, ...it.addresses].join(" ")).join(", ");
  const phases = Object.entries(status.phases).sort().map(([phase, count]) => `${count} ${phase}`).join(", ");
  $("counts").textContent = [uplinks && `uplink ${uplinks}`, phases || "no attachments"].filter(Boolean).join(" · ");
}

function showState(status) {
  if (status) showState.last = status;
  const ready = showState.last && showState.last.ready;
  const words = told.live && !live ? "not connected, trying again" : ready ? "ready" : "not ready";
  $("state").textContent = words + (told.live ? "" : `, as of ${moment(told.at)}`);
  $("state").className = words === "ready" ? "good" : "bad";
}

// Traffic

function sample(message) {
  const sum = { at: message.at, received: 0, sent: 0 };
  for (const [key, received, sent] of message.traffic) {
    sum.received += received;
    sum.sent += sent;
    remember(key, { at: message.at, received, sent });
    const found = rows.get(key);
    if (!found || found.element.hidden) continue;
    found.cells[6].textContent = speed(key, "received");
    found.cells[7].textContent = speed(key, "sent");
  }
  remember("", sum);
  spark($("received"), "", "received", "in");
  spark($("sent"), "", "sent", "out");
  const drawn = $("details").querySelectorAll(".spark");
  if (drawn.length) ["received", "sent"].forEach((way, at) => spark(drawn[at], chosen, way, way));
}

function remember(key, now) {
  const kept = series.get(key) || [];
  kept.push(now);
  if (kept.length > SAMPLES) kept.shift();
  series.set(key, kept);
}

function speeds(key, way) {
  const kept = series.get(key) || [];
  return kept.slice(1).map((now, at) => Math.max(0, (8 * (now[way] - kept[at][way])) / (now.at - kept[at].at || 1)));
}

function speed(key, way) {
  const found = speeds(key, way);
  return found.length ? rate(found[found.length - 1]) : "";
}

function spark(place, key, way, name) {
  const found = speeds(key, way);
  const most = Math.max(...found, 1);
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawn.setAttribute("viewBox", `0 0 ${SAMPLES} 20`);
  drawn.setAttribute("preserveAspectRatio", "none");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const start = SAMPLES - found.length;
  line.setAttribute("points", found.map((bits, at) => `${start + at},${19 - (18 * bits) / most}`).join(" "));
  drawn.append(line);
  place.replaceChildren(make("span", name, "dim"), drawn, make("b", found.length ? rate(found[found.length - 1]) : "–"));
}

// Details

function choose(key) {
  const before = rows.get(chosen);
  if (before) before.element.classList.remove("chosen");
  chosen = key;
  const found = rows.get(key);
  $("details").hidden = !found;
  if (!found) return;
  found.element.classList.add("chosen");
  describe(key);
}

function describe(key) {
  const it = attachments.get(key);
  const close = make("button", "Close", "close");
  close.type = "button";
  close.addEventListener("click", () => choose(""));
  const fields = make("dl");
  const field = (name, value, look) => { if (value) fields.append(make("dt", name), make("dd", value, look)); };
  field("phase", it.phase, look(it));
  it.unmet.forEach((why) => field("not as wished", reason(why), "bad"));
  field("addresses", it.addresses.join(" "));
  field("mac", it.mac);
  field("mtu", String(it.mtu || "the node's"));
  field("netns", it.netns_path);
  field("node interface", it.node_if_name);
  field("source", it.source);
  field("container", it.container_id);
  field("labels", labels(it));
  field("ports, limits", carried(it));
  field("routes", it.routes.map((route) => route.dst).join(" "));
  field("isolated from", [it.isolate_node && "node", it.isolate_workloads && "workloads"].filter(Boolean).join(" "));
  field("generation", `${it.generation}, observed ${it.observed_generation}`);
  field("repairs", String(it.repairs));
  it.conditions.forEach((c) => {
    const since = c.last_transition ? `since ${moment(c.last_transition)}` : "";
    field(`condition ${c.type}`, [String(c.status), c.reason, c.message, since].filter(Boolean).join(" "));
  });
  const more = make("div");
  $("details").replaceChildren(close, make("h2", key), fields, more);
  if (!told.live) return;
  for (const way of ["received", "sent"]) {
    const place = make("div", undefined, "spark");
    more.append(place);
    spark(place, key, way, way);
  }
  showDescription(key, it, more);
}

async function showDescription(key, it, more) {
  const place = make("div", "reading the kernel …", "dim");
  more.append(place);
  try {
    const query = new URLSearchParams({ workload_id: it.workload_id, if_name: it.if_name });
    const answer = await fetch(`describe?${query}`);
    if (!answer.ok) throw new Error(await answer.text());
    const description = await answer.json();
    if (key !== chosen) return;
    const parts = [];
    for (const [where, heading] of [["node", "On the node"], ["workload", "In the workload"]]) {
      const list = make("ul", undefined, "lines");
      for (const thing of description.objects.filter((object) => object.where === where)) {
        const line = make("li", thing.words);
        if (thing.deviation) line.append(" ", make("span", thing.deviation, "bad"));
        list.append(line);
      }
      parts.push(make("h2", heading), list);
    }
    const list = make("ul", undefined, "lines");
    description.events.reverse().forEach((event) => list.append(eventLine(event, false)));
    parts.push(make("h2", "What happened"), list);
    place.className = "";
    place.replaceChildren(...parts);
  } catch (error) {
    place.textContent = error.message;
  }
}

function eventLine(it, withWhom = true) {
  const line = make("li");
  const whom = !withWhom ? "" : it.workload_id ? `${it.workload_id}/${it.if_name}: ` : "node: ";
  line.append(make("time", moment(it.at)), `${it.kind}  ${whom}${it.message}`);
  if (it.lasted_s !== undefined)
    line.append(`, it had been so for ${it.lasted_at_most ? "at most " : ""}${duration(it.lasted_s)}`);
  if (it.count > 1) line.append(`, ${it.count} times since ${moment(it.first_at)}`);
  it.found.forEach((found, at) => line.append(make("div", `    ${found}: ${it.done[at]}`, "dim")));
  line.number = it.number;
  return line;
}

function happened(it) {
  $("happened").hidden = false;
  for (const line of $("events").children) if (line.number === it.number) { line.remove(); break; }
  $("events").prepend(eventLine(it));
  if ($("events").children.length > EVENTS) $("events").lastChild.remove();
}

// The picture

function show(picture) {
  $("table").hidden = picture;
  $("picture").hidden = !picture;
  $("as-table").setAttribute("aria-pressed", String(!picture));
  $("as-picture").setAttribute("aria-pressed", String(picture));
  draw();
}

async function draw() {
  if (!pictureIsOld || $("picture").hidden) return;
  pictureIsOld = false;
  const answer = await fetch("picture.svg");
  if (!answer.ok) return;
  const drawn = new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement;
  $("picture").replaceChildren(document.importNode(drawn, true));
  filter();
}

// Live

function connect() {
  const stream = new EventSource("stream");
  const on = (kind, take) => stream.addEventListener(kind, (message) => take(JSON.parse(message.data)));
  on("begin", () => {
    complete = false;
    attachments.clear();
    rows.clear();
    $("events").replaceChildren();
  });
  on("attachments", (found) => { found.forEach(put); if (complete) changed(); });
  on("complete", () => {
    complete = live = true;
    for (const { element } of rows.values()) element.hidden = true;
    showAll();
    changed();
    showState();
    choose(rows.has(chosen) ? chosen : "");
  });
  on("removed", (it) => { remove(it); changed(); });
  on("status", showStatus);
  on("traffic", sample);
  on("event", happened);
  stream.onerror = () => {
    live = false;
    showState();
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN_MS); // refused; else it tries by itself
  };
}

function changed() {
  filter();
  if (!pictureIsOld) {
    pictureIsOld = true;
    setTimeout(draw, 500);
  }
}

$("filter").addEventListener("input", filter);
$("all").addEventListener("click", () => { all = true; filter(); });
$("as-table").addEventListener("click", () => show(false));
$("as-picture").addEventListener("click", () => show(true));
$("picture").addEventListener("click", (event) => {
  const box = event.target.closest("[data-key]");
  if (box) choose(box.dataset.key);
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") choose(""); });

if (told.live) {
  showState();
  connect();
} else {
  told.attachments.forEach(put);
  complete = true;
  showAll();
  filter();
  showStatus(told.status);
  $("table").className = "still";
  $("received").hidden = $("sent").hidden = true;
}
