// Click to track in the browser: frames to click on, marks, the tracked curve. Tracking itself is done by tracker.py.

const INK = "#e69f00", LEFT = 40, RIGHT = 8, TOP = 8, BOTTOM = 18;
const HELP = {
  object: "click the object; in a later frame where it was lost, click it again and track",
  scale: "click the two ends of something of known length, in the plane of the fall",
};

function element(tag, options = {}, ...children) {
  const { label, ...rest } = options;
  const made = Object.assign(document.createElement(tag), rest);
  if (label) { made.setAttribute("aria-label", label); made.title = label; }
  made.append(...children);
  return made;
}
const known = (value) => value !== null && value !== undefined;

function render({ model, el }) {
  const get = (name) => model.get(name), count = get("frames").length, [width, height] = get("size");
  const state = { frame: Math.min(get("release"), count - 1), mark: "object", cursor: [width / 2, height / 2], picture: null };
  const set = (name, value) => { model.set(name, value); model.save_changes(); };
  el.classList.add("pisa-player", "pisa-tracker");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "click to track");

  const button = (text, label, onclick) => element("button", { type: "button", textContent: text, label, onclick });
  const number = (name, label, step) => {
    const made = element("input", { type: "number", value: get(name), min: 0, step, label, onchange: () => set(name, +made.value) });
    model.on(`change:${name}`, () => { made.value = get(name); });
    return made;
  };
  const slider = element("input", { type: "range", min: 0, max: count - 1, value: state.frame, className: "time", label: "frame", oninput: () => seek(+slider.value) });
  const readout = element("span", { className: "readout" });
  const mark = element("select", { label: "what a click marks", onchange: () => { state.mark = mark.value; draw(); } },
    element("option", { value: "object", textContent: "a click marks the object" }), element("option", { value: "scale", textContent: "a click marks the scale" }));
  const tilted = element("input", { type: "checkbox", checked: get("tilted"), onchange: () => set("tilted", tilted.checked) });
  const folder = element("input", { type: "text", value: "clips/mine", label: "folder to save the clip in" });
  const order = (what) => { set("order", { ...what, at: Date.now() }); };
  const video = element("canvas", { tabIndex: 0 }), chart = element("canvas", { tabIndex: -1 });
  video.setAttribute("role", "application");
  chart.setAttribute("role", "img");
  video.setAttribute("aria-label", "video frame: click to mark; arrow keys move a cross, shift by ten pixels, Enter marks there");
  chart.setAttribute("aria-label", "height of the object over time; click to go to that frame");
  const said = element("div", { className: "said" }), help = element("div", { className: "help" });
  said.setAttribute("role", "status");
  const say = (text) => { said.textContent = text; };
  el.append(
    element("div", { className: "bar" }, button("◀", "one frame back", () => seek(state.frame - 1)), button("▶|", "one frame on", () => seek(state.frame + 1)), slider, readout,
      button("release", "the object is let go in this frame", () => set("release", state.frame)), button("next lost", "go to the next frame in which the object is lost", nextLost)),
    element("div", { className: "bar" }, mark, element("label", {}, "scale [m] ", number("metres", "length of the scale in metres", 0.01)),
      element("label", {}, "recorded at [fps] ", number("fps", "frames per second at which it was recorded", 1)), element("label", {}, tilted, " camera tilted"),
      button("clear", "forget the marks", () => { set("points", []); set("ends", []); }), button("track", "track the object", () => order({ do: "track" })), folder,
      button("save", "save as a clip, from the release on", () => order({ do: "save", to: folder.value }))),
    help, element("div", { className: "body" }, video, element("div", { className: "charts" }, said, chart)));

  function nextLost() {
    const lost = get("found").lost ?? [], next = lost.find((frame) => frame > state.frame) ?? lost[0];
    if (next === undefined) say("no frame is lost"); else seek(next);
  }
  async function seek(frame) {
    state.frame = Math.min(Math.max(frame, 0), count - 1);
    const wanted = state.frame, picture = await createImageBitmap(new Blob([get("frames")[wanted]], { type: "image/jpeg" }));
    if (wanted !== state.frame) return; // another one was asked for meanwhile
    state.picture = picture;
    slider.value = wanted;
    draw();
    el.dataset.frame = wanted;
  }
  function place(point) { // a click marks the object in this frame, or an end of the scale
    if (state.mark === "object") set("points", [...get("points").filter(([frame]) => frame !== state.frame), [state.frame, ...point]].sort((a, b) => a[0] - b[0]));
    else set("ends", [...(get("ends").length < 2 ? get("ends") : []), point]);
  }
  const scale = () => Math.min((el.clientWidth || 800) * 0.45 / width, 480 / height, 3);
  video.onclick = (event) => {
    const box = video.getBoundingClientRect();
    place([(event.clientX - box.left) / scale(), (event.clientY - box.top) / scale()]);
  };
  video.onkeydown = (event) => {
    const by = event.shiftKey ? 10 : 1, step = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[event.key];
    if (step) state.cursor = state.cursor.map((value, axis) => Math.min(Math.max(value + step[axis], 0), get("size")[axis] - 1));
    else if (event.key === "Enter") place([...state.cursor]);
    else return;
    event.preventDefault();
    event.stopPropagation();
    draw();
  };
  video.onfocus = video.onblur = () => draw();
  chart.onpointerdown = chart.onpointermove = (event) => {
    const box = chart.getBoundingClientRect();
    if (event.type === "pointerdown" || event.buttons) seek(Math.round((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT) * (count - 1)));
  };

  function fit(canvas, w, h) { // sized for the screen's pixels
    const ratio = window.devicePixelRatio || 1;
    Object.assign(canvas, { width: Math.round(w * ratio), height: Math.round(h * ratio) });
    Object.assign(canvas.style, { width: `${w}px`, height: `${h}px` });
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    return context;
  }
  function draw() {
    const { frame } = state, found = get("found"), k = scale(), release = get("release");
    help.textContent = HELP[state.mark];
    readout.textContent = `frame ${frame} of ${count - 1}, ${((frame - release) / get("fps")).toFixed(3)} s after the release`;
    const context = fit(video, width * k, height * k);
    if (state.picture) context.drawImage(state.picture, 0, 0, width * k, height * k);
    const stroke = (path, w) => { // a dark border, so that it is seen on any background
      for (const [ink, line] of [["black", w + 2], [INK, w]]) { context.strokeStyle = ink; context.lineWidth = line; context.beginPath(); path(); context.stroke(); }
    };
    const cross = (x, y, r) => stroke(() => { context.moveTo(x - r, y); context.lineTo(x + r, y); context.moveTo(x, y - r); context.lineTo(x, y + r); }, 1.5);
    const ends = get("ends");
    if (ends.length === 2) stroke(() => { context.moveTo(ends[0][0] * k, ends[0][1] * k); context.lineTo(ends[1][0] * k, ends[1][1] * k); }, 1.5);
    for (const [x, y] of ends) stroke(() => context.rect(x * k - 3, y * k - 3, 6, 6), 1.5);
    (found.y ?? []).forEach((y, i) => { if (known(y) && i < frame) { context.fillStyle = INK; context.fillRect(found.x[i] * k - 1, y * k - 1, 2, 2); } });
    if (known(found.y?.[frame])) stroke(() => context.arc(found.x[frame] * k, found.y[frame] * k, 7, 0, 2 * Math.PI), 2);
    for (const [at, x, y] of get("points")) if (at === frame) cross(x * k, y * k, 6);
    if (document.activeElement === video) cross(state.cursor[0] * k, state.cursor[1] * k, 10);
    drawChart(found, release);
  }
  function drawChart({ y = [], fit: curve, lost = [] }, release) {
    const w = Math.max((el.clientWidth || 800) - width * scale() - 40, 240), h = 260, context = fit(chart, w, h), ink = getComputedStyle(el).color;
    const X = (frame) => LEFT + (w - LEFT - RIGHT) * frame / (count - 1), values = y.filter(known), [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, height];
    const Y = (value) => TOP + (h - TOP - BOTTOM) * (value - low) / (high - low || 1);
    context.fillStyle = context.strokeStyle = ink;
    context.font = "11px sans-serif";
    context.fillText(`${low.toFixed(0)} px`, 2, TOP + 9);
    context.fillText(`${high.toFixed(0)} px`, 2, h - BOTTOM);
    context.fillText("release", X(release) + 3, h - 4);
    context.strokeRect(X(0), TOP, X(count - 1) - X(0), h - TOP - BOTTOM);
    const upright = (frame, dash) => { context.setLineDash(dash); context.beginPath(); context.moveTo(X(frame), TOP); context.lineTo(X(frame), h - BOTTOM); context.stroke(); context.setLineDash([]); };
    upright(release, [3, 3]);
    upright(state.frame, []);
    y.forEach((value, i) => { if (known(value)) context.fillRect(X(i) - 1.5, Y(value) - 1.5, 3, 3); });
    context.textAlign = "center";
    for (const frame of lost) context.fillText("×", X(frame), h - BOTTOM - 3);
    if (!curve) return;
    context.strokeStyle = INK;
    context.lineWidth = 2;
    context.beginPath();
    for (const [time, value] of curve) context.lineTo(X(time * get("fps")), Y(value));
    context.stroke();
  }
  const told = () => {
    const { g, interval } = get("found"), message = get("message");
    const next = get("points").length ? message || "Press track." : "Click the object in the frame where it should be followed from.";
    say((known(g) && message.startsWith("found") ? `g = ${g.toFixed(2)} m/s² [${interval.map((one) => one.toFixed(2)).join(", ")}]: ` : "") + next);
    draw();
  };
  for (const name of ["points", "ends", "release", "found", "fps", "message", "metres"]) model.on(`change:${name}`, told);
  new ResizeObserver(draw).observe(el);
  seek(state.frame).then(() => { told(); el.dataset.ready = "yes"; });
  el.pisaTracker = { get, seek }; // for tests
}

export default { render };
