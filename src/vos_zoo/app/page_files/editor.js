// Runs once, when the editor is on the page. `element` is the editor, `server.call` asks the server. The review, with the
// timeline, is another part of the page, which may come later and announces itself by `window.vosZoo.review`.
const find = (selector) => element.querySelector(selector);
const role = (name) => find(`[data-role="${name}"]`);
const canvas = find(".vz-canvas");
const context = canvas.getContext("2d");
const FRAMES_KEPT = 300;
const FRAMES_AHEAD = 8;

let key = "";
let goingOn = ""; // key of the project that Stop belongs to
let review = null;
let timeline = null;
let state = null;
let frame = 0;
let object = 1;
let tool = "box";
let prompts = [];
let drag = null; // what is being drawn with the pointer
let timer = null; // of playing
let waiting = 0;
let pictures = new Map(); // number of a frame -> promise of its picture
let masks = new Map(); // the same of masks; forgotten when they may have changed
let shown = { picture: null, mask: null };

async function ask(action, more = {}) {
  waiting += 1;
  const slow = setTimeout(() => { find(".vz-busy").hidden = false; }, 250);
  try {
    const answer = await server.call({ key, action, ...more });
    if (answer && answer.error) {
      fail(answer.error);
      return null;
    }
    return answer;
  } catch (error) {
    fail("The server does not answer. Is `vos-zoo app` still running?");
    return null;
  } finally {
    clearTimeout(slow);
    waiting -= 1;
    if (waiting === 0) find(".vz-busy").hidden = true;
  }
}

function say(text) { find(".vz-message").textContent = text; }
function fail(text) {
  find(".vz-error").textContent = text;
  if (text) bring(".vz-error");
}

// What was pressed may be far below on the page.
function bring(selector) { find(selector).scrollIntoView({ block: "nearest" }); }

function progress(share, text, of = "") {
  goingOn = of;
  find(".vz-progress").hidden = text === "";
  find(".vz-progress progress").value = share;
  find(".vz-progress span").textContent = text;
  role("stop").disabled = of === "";
}

function load(url) {
  return new Promise((resolve) => {
    if (!url) { resolve(null); return; }
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => resolve(null);
    image.src = url;
  });
}

function picture(number) {
  if (!pictures.has(number)) {
    pictures.set(number, ask("picture", { frame: number }).then((answer) => load(answer && answer.url)));
    if (pictures.size > FRAMES_KEPT) pictures.delete(pictures.keys().next().value);
  }
  return pictures.get(number);
}

function mask(number) {
  if (!masks.has(number)) {
    masks.set(number, ask("mask", { frame: number }).then(async (answer) => (
      { image: await load(answer && answer.url), prompts: (answer && answer.prompts) || [] }
    )));
  }
  return masks.get(number);
}

async function show(number) {
  if (!state) return;
  frame = Math.max(0, Math.min(state.frames - 1, number));
  const wanted = frame;
  role("slider").value = frame;
  role("position").textContent = `${frame} / ${state.frames - 1}`;
  drawTimeline();
  const [image, found] = await Promise.all([picture(wanted), mask(wanted)]);
  if (wanted !== frame) return;
  shown = { picture: image, mask: found.image };
  prompts = found.prompts;
  draw();
  canvas.setAttribute("aria-label", `Frame ${frame} of ${state.frames - 1}, ${found.image ? "with" : "without"} masks`);
  canvas.dataset.frame = String(frame);
}

function draw() {
  if (!shown.picture) return;
  canvas.width = shown.picture.naturalWidth;
  canvas.height = shown.picture.naturalHeight;
  canvas.style.width = `min(100%, ${(58 * canvas.width) / canvas.height}vh)`;
  context.drawImage(shown.picture, 0, 0);
  if (shown.mask) {
    context.globalAlpha = 0.55;
    context.drawImage(shown.mask, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = 1;
  }
  const scale = canvas.width / state.width;
  for (const prompt of prompts) drawPrompt(prompt, scale);
  if (drag) drawPrompt(drag.prompt, scale);
}

function drawPrompt(prompt, scale) {
  const line = (points, colour, width) => {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    points.forEach(([x, y], number) => context[number ? "lineTo" : "moveTo"](x * scale, y * scale));
    if (points.length === 1) context.lineTo(points[0][0] * scale + 0.01, points[0][1] * scale);
    context.stroke();
  };
  if (prompt.kind === "box") {
    const { left, top, right, bottom } = prompt;
    const corners = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]];
    line(corners, "#000", 4);
    line(corners, colourOf(prompt.object_id), 2);
  } else if (prompt.kind === "points") {
    for (const [points, colour] of [[prompt.positive, "#16a34a"], [prompt.negative, "#dc2626"]]) {
      for (const point of points) {
        line([point], "#fff", 13);
        line([point], colour, 9);
      }
    }
  } else if (prompt.kind === "brush" && drag && drag.prompt === prompt) {
    context.globalAlpha = 0.6;
    line(prompt.line, prompt.erase ? "#fff" : colourOf(prompt.object_id), 2 * prompt.radius * scale);
    context.globalAlpha = 1;
  }
}

function colourOf(id) {
  const found = state.objects.find((entry) => entry.id === id);
  return found ? found.colour : "#fff";
}

function drawTimeline() {
  if (!timeline || !state) return;
  const width = (timeline.width = Math.max(300, timeline.clientWidth));
  const height = (timeline.height = 96);
  const pen = timeline.getContext("2d");
  const x = (number) => (state.frames < 2 ? 0 : (number / (state.frames - 1)) * (width - 8) + 4);
  const half = 44;
  pen.strokeStyle = "#52525b";
  pen.beginPath();
  pen.moveTo(0, half);
  pen.lineTo(width, half);
  pen.stroke();
  for (const { id, colour } of state.objects) {
    const rows = state.rows.filter((row) => row[1] === id);
    const largest = Math.max(1, ...rows.map((row) => row[2]));
    const plot = (value, dashes) => {
      pen.strokeStyle = colour;
      pen.lineWidth = 2;
      pen.setLineDash(dashes);
      pen.beginPath();
      rows.forEach((row, number) => pen[number ? "lineTo" : "moveTo"](x(row[0]), value(row)));
      pen.stroke();
    };
    plot((row) => half - 3 - (row[2] / largest) * (half - 8), []);
    plot((row) => 2 * half - 2 - row[3] * (half - 6), [5, 3]);
  }
  pen.setLineDash([]);
  pen.fillStyle = "#f87171";
  for (const number of doubtful()) pen.fillRect(x(number) - 2, height - 8, 4, 8);
  pen.fillStyle = "#fff";
  for (const number of state.prompted) pen.fillRect(x(number) - 2, 0, 4, 8);
  pen.fillStyle = "#facc15";
  pen.fillRect(x(frame) - 1, 0, 2, height);
}

function doubtful() {
  return [...new Set(state.rows.filter((row) => row[4]).map((row) => row[0]))];
}

function drawObjects() {
  const list = find(".vz-objects");
  list.textContent = "";
  for (const entry of state.objects) {
    const group = document.createElement("span");
    group.className = "vz-object";
    const choose = document.createElement("button");
    choose.type = "button";
    choose.dataset.object = entry.id;
    choose.setAttribute("aria-pressed", String(entry.id === object));
    choose.setAttribute("aria-label", `Choose ${entry.name}`);
    const swatch = document.createElement("span");
    swatch.className = "vz-swatch";
    swatch.style.background = entry.colour;
    choose.append(swatch, ` ${entry.id}`);
    choose.onclick = () => { object = entry.id; drawObjects(); };
    const name = document.createElement("input");
    name.value = entry.name;
    name.setAttribute("aria-label", `Name of object ${entry.id}`);
    name.onchange = async () => {
      const answer = await ask("rename", { object: entry.id, name: name.value });
      if (answer) adopt(answer);
    };
    group.append(choose, name);
    list.append(group);
  }
}

function adopt(answer) {
  state = answer;
  if (!state.objects.some((entry) => entry.id === object)) object = state.objects[0].id;
  find(".vz-main").hidden = false;
  find(".vz-empty").hidden = true;
  role("slider").max = state.frames - 1;
  role("undo").disabled = state.pending === 0 || state.running;
  element.dataset.runs = String(state.runs);
  element.dataset.finished = String(state.finished.length);
  element.dataset.pending = String(state.pending);
  drawObjects();
  drawReview();
}

function drawReview() {
  if (!review || !state) return;
  const isEmpty = state.rows.length === 0;
  review.querySelector(".vz-main").hidden = isEmpty;
  review.querySelector(".vz-empty").hidden = !isEmpty;
  const next = review.querySelector('[data-role="doubtful"]');
  next.disabled = doubtful().length === 0;
  next.textContent = `Next doubtful frame (${doubtful().length})`;
  drawTimeline();
}

async function refresh() {
  const answer = await ask("state");
  if (!answer) return false;
  masks = new Map();
  adopt(answer);
  await show(frame);
  return true;
}

async function point(prompt) {
  fail("");
  const answer = await ask("edit", { frame, prompt });
  drag = null;
  if (answer) {
    masks.delete(frame);
    adopt(answer);
    say(state.runs ? "Press Track: only the frames that this changes are segmented again." : "Press Track to follow the object.");
  }
  await show(frame);
}

async function undo() {
  const answer = await ask("undo");
  if (!answer) return;
  fail("");
  say("");
  masks = new Map();
  adopt(answer);
  await show(answer.undone === null ? frame : answer.undone);
}

function position(event) {
  const box = canvas.getBoundingClientRect();
  const inside = (value, most) => Math.max(0, Math.min(most - 0.01, value));
  return [
    Math.round(inside(((event.clientX - box.left) / box.width) * state.width, state.width) * 100) / 100,
    Math.round(inside(((event.clientY - box.top) / box.height) * state.height, state.height) * 100) / 100,
  ];
}

canvas.addEventListener("pointerdown", (event) => {
  if (!state || state.running || event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  pause();
  const start = position(event);
  if (tool === "box") {
    drag = { start, prompt: { kind: "box", object_id: object, left: start[0], top: start[1], right: start[0], bottom: start[1] } };
  } else if (tool === "brush" || tool === "eraser") {
    const radius = (Number(role("radius").value) * Math.min(state.width, state.height)) / 480;
    drag = { start, prompt: { kind: "brush", object_id: object, line: [start], radius, erase: tool === "eraser" } };
  } else {
    const [positive, negative] = tool === "plus" ? [[start], []] : [[], [start]];
    point({ kind: "points", object_id: object, positive, negative });
    return;
  }
  draw();
});

canvas.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const here = position(event);
  if (drag.prompt.kind === "box") {
    drag.prompt.left = Math.min(drag.start[0], here[0]);
    drag.prompt.right = Math.max(drag.start[0], here[0]);
    drag.prompt.top = Math.min(drag.start[1], here[1]);
    drag.prompt.bottom = Math.max(drag.start[1], here[1]);
  } else {
    drag.prompt.line.push(here);
  }
  draw();
});

canvas.addEventListener("pointerup", () => {
  if (!drag) return;
  const { prompt } = drag;
  if (prompt.kind === "box" && (prompt.right - prompt.left < 3 || prompt.bottom - prompt.top < 3)) {
    drag = null;
    say("Drag to draw a box, or choose a point tool to click.");
    draw();
    return;
  }
  point(prompt);
});
canvas.addEventListener("pointercancel", () => { drag = null; draw(); });

function goTo(event) {
  const box = timeline.getBoundingClientRect();
  pause();
  show(Math.round(((event.clientX - box.left - 4) / (box.width - 8)) * (state.frames - 1)));
}

function pause() {
  clearInterval(timer);
  timer = null;
  role("play").textContent = "▶ Play";
  role("play").setAttribute("aria-label", "Play");
}

function play() {
  if (timer !== null) { pause(); return; }
  role("play").textContent = "❚❚ Pause";
  role("play").setAttribute("aria-label", "Pause");
  let isLoading = false;
  timer = setInterval(async () => {
    if (isLoading) return;
    isLoading = true;
    for (let ahead = 1; ahead <= FRAMES_AHEAD; ahead += 1) {
      const number = (frame + ahead) % state.frames;
      picture(number);
      mask(number);
    }
    await show(frame + 1 < state.frames ? frame + 1 : 0);
    isLoading = false;
  }, 1000 / Math.min(30, state.fps));
}

function nextDoubtful() {
  const found = doubtful();
  if (found.length) show(found.find((number) => number > frame) ?? found[0]);
}

element.querySelectorAll("[data-tool]").forEach((button) => {
  button.onclick = () => {
    tool = button.dataset.tool;
    element.querySelectorAll("[data-tool]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    find(".vz-size").hidden = tool !== "brush" && tool !== "eraser";
  };
});
role("undo").onclick = undo;
role("add").onclick = async () => {
  const answer = await ask("add");
  if (answer) {
    object = answer.added;
    adopt(answer);
  }
};
role("previous").onclick = () => { pause(); show(frame - 1); };
role("next").onclick = () => { pause(); show(frame + 1); };
role("play").onclick = play;
role("stop").onclick = () => { role("stop").disabled = true; ask("stop", { key: goingOn }); };
role("slider").oninput = () => { pause(); show(Number(role("slider").value)); };

document.addEventListener("keydown", (event) => {
  const place = event.target;
  if (!state || event.ctrlKey || event.metaKey || event.altKey) return;
  if (place.closest("input, textarea, select, [contenteditable], [role=listbox]")) return;
  if (event.key === "ArrowLeft") { pause(); show(frame - 1); }
  else if (event.key === "ArrowRight") { pause(); show(frame + 1); }
  else if (event.key === " " && !place.closest("button, a")) play();
  else if (event.key === "z") undo();
  else if (/^[1-9]$/.test(event.key)) {
    const chosen = state.objects.find((entry) => entry.id === Number(event.key));
    if (chosen) { object = chosen.id; drawObjects(); }
  } else return;
  event.preventDefault();
});

function time(seconds) {
  return seconds >= 90 ? `${Math.round(seconds / 60)} min` : `${Math.max(1, Math.round(seconds))} s`;
}

// What the rest of the page says: buttons that were pressed, and news of the server.
window.vosZoo = {
  wait(text) {
    fail("");
    say("");
    progress(0, text);
    bring(".vz-progress");
  },
  fail() {
    progress(0, "");
    fail("The server did not take this. It may have too much to do: try again in a minute. If that does not help, its log says why.");
  },
  review(part) {
    review = part;
    timeline = part.querySelector(".vz-timeline");
    timeline.addEventListener("click", goTo);
    part.querySelector('[data-role="doubtful"]').onclick = () => { pause(); nextDoubtful(); };
    new ResizeObserver(drawTimeline).observe(timeline);
    drawReview();
  },
  async news(value) {
    if (!value || !value.kind) return;
    if (value.kind === "error") {
      progress(0, "");
      fail(value.message);
    } else if (value.kind === "opening") {
      fail("");
      progress(value.total ? value.done / value.total : 0, `Reading the video: ${value.done} of ${value.total} frames`, value.key);
    } else if (value.kind === "project") {
      await begin(value.key);
    } else if (value.key === key && value.kind === "tracking") {
      follow(value);
    } else if (value.key === key && value.kind === "end") {
      progress(0, "");
      await refresh();
      if (value.message && value.message !== "Stopped.") fail(value.message);
      say(value.message === "Stopped." ? "Stopped. Finished masks are kept; press Track to continue." : value.message ? "" : "All frames have masks.");
    } else if (value.kind === "stopped") {
      progress(0, "");
      say("Stopped. The video was not opened.");
    }
  },
};

async function begin(project) {
  pause();
  progress(0, "");
  key = project;
  sessionStorage.setItem("vos-zoo-project", key);
  pictures = new Map();
  masks = new Map();
  state = null;
  frame = 0;
  object = 1;
  fail("");
  if (!await refresh()) return;
  const masked = state.finished.length ? ` ${state.finished.length} have masks.` : "";
  say(`${state.video}: ${state.frames} frames of ${state.width}×${state.height} pixels.${masked}`);
  while (key === project && state.running) { // a reload stops what the tab was tracking, within a frame
    await new Promise((resolve) => setTimeout(resolve, 500));
    await refresh();
  }
}

function follow(value) {
  fail("");
  say("");
  if (state && !state.running) {
    state.running = true;
    role("undo").disabled = true;
  }
  if (value.ahead) progress(0, `Waiting for your turn: ${value.ahead} before you`, key);
  else if (!value.total) progress(0, "Loading the model …", key);
  else {
    const percent = Math.floor((100 * value.done) / value.total);
    const text = `${percent} %, ${value.rate.toFixed(1)} frames/s, ${time(value.left)} left`;
    progress(value.done / value.total, text, key);
  }
  if (value.frame !== null && value.frame !== undefined) {
    masks.delete(value.frame);
    show(value.frame);
  }
}
