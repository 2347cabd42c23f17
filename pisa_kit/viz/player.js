// The trajectory inspector in the browser. It gets every video once and plays without a kernel.
// `views` (see player.py) are clips; each holds tracks, the truth first: sprites of frames and masks, curves, numbers.

const SPEEDS = [["1x", 1], ["1/4x", 0.25], ["1/16x", 0.0625]];
const CURVES = {
  y: { label: "height in the picture y [px]", down: true },
  x: { label: "x [px]", least: 10 },
  speed: { label: "speed [px/s]", zero: true },
  l2: { label: "distance from the truth [widths]", zero: true, paired: true },
  iou: { label: "IoU with the truth", zero: true, top: 1, paired: true },
};
const SHAPES = "■●▲◆▼✚★"; // of the points on curves: colours are not alone in telling methods apart
const KEPT = 8; // decoded clips
const TAIL = 0.6; // seconds over which a trail fades

function element(tag, options = {}, ...children) {
  const { style, dataset, ...rest } = options;
  const made = Object.assign(document.createElement(tag), rest);
  Object.assign(made.style, style);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

async function picture(bytes, read) {
  const image = await createImageBitmap(new Blob([bytes], { type: "image/webp" }));
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d", { willReadFrequently: read }).drawImage(image, 0, 0);
  return canvas;
}

// The border of one frame's mask as a Path2D of pixel edges, in pixels of the video; made when first needed.
function outline(track, frame) {
  if (track.paths[frame]) return track.paths[frame];
  const path = new Path2D(), [width, height] = track.size;
  const { data } = track.masks.getContext("2d").getImageData((frame % track.columns) * width, Math.floor(frame / track.columns) * height, width, height);
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && data[4 * (y * width + x)] > 127;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
    if (!inside(x, y)) continue;
    for (const [there, ax, ay, bx, by] of [[inside(x - 1, y), 0, 0, 0, 1], [inside(x + 1, y), 1, 0, 1, 1],
      [inside(x, y - 1), 0, 0, 1, 0], [inside(x, y + 1), 0, 1, 1, 1]]) {
      if (!there) { path.moveTo(x + ax, y + ay); path.lineTo(x + bx, y + by); }
    }
  }
  return (track.paths[frame] = path);
}

async function decode(view) {
  return Promise.all(view.tracks.map(async (track, index) => ({
    ...track,
    shape: SHAPES[index % SHAPES.length],
    sheet: await picture(track.frames, false),
    masks: await picture(track.masks, true),
    paths: [],
  })));
}

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const shown = (value, digits) => (known(value) ? value.toFixed(digits) : "-");

async function render({ model, el }) {
  const views = model.get("views"), metrics = model.get("metrics");
  const state = { clip: 0, tracks: [], time: 0, playing: false, speed: 1, loop: true, hidden: new Set(), hover: null };
  el.classList.add("pisa-player");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "trajectory inspector");
  el.tabIndex = 0;

  // --- controls ------------------------------------------------------------------------------------------------
  const button = (text, label, act) => {
    const made = element("button", { type: "button", textContent: text, title: label, onclick: act });
    made.setAttribute("aria-label", label);
    return made;
  };
  const play = button("▶", "play or pause (space)", () => setPlaying(!state.playing));
  const slider = element("input", { type: "range", min: 0, step: "any", className: "time", title: "time" });
  slider.setAttribute("aria-label", "time in seconds");
  slider.oninput = () => { setPlaying(false); seek(+slider.value); };
  const speed = element("select", { title: "speed" }, ...SPEEDS.map(([text, value]) => element("option", { value, textContent: text })));
  speed.setAttribute("aria-label", "speed");
  speed.onchange = () => { state.speed = +speed.value; };
  const loop = element("input", { type: "checkbox", checked: true, onchange: () => { state.loop = loop.checked && !state.recorder; } });
  const readout = element("span", { className: "readout" });
  readout.setAttribute("aria-live", "off");
  const bar = element("div", { className: "bar" }, play, button("◀", "one frame back (left arrow)", () => step(-1)),
    button("▶|", "one frame on (right arrow)", () => step(1)), slider, speed,
    element("label", {}, loop, " loop"), readout,
    button("CSV", "save the tracks of this clip as CSV", saveTable), button("video", "record what plays as a video", record));
  const legend = element("div", { className: "legend" });
  const stage = element("div", { className: "stage" });
  const charts = element("div", { className: "charts" });
  const sort = element("select", { title: "order of the clips" },
    element("option", { value: "", textContent: "as given" }),
    ...metrics.map((metric) => element("option", { value: metric.key, textContent: `worst ${metric.label} first` })));
  sort.setAttribute("aria-label", "order of the clips");
  sort.onchange = drawThumbnails;
  const shelf = element("div", { className: "shelf" });
  const title = element("div", { className: "title" });
  const reading = element("div", { className: "note reading", textContent: "curves: ▲ contact; × a frame without the object; dashed: the method's own parabola; dotted: g t²/2" });
  el.append(title, bar, legend, element("div", { className: "body" }, stage, charts), reading);
  if (views.length > 1) el.append(element("label", { className: "order" }, "clips: ", sort), shelf);

  const overlay = element("canvas");
  let panels = [];
  const graphs = Object.entries(CURVES).map(([key, curve]) => {
    const canvas = element("canvas", { tabIndex: -1, title: `${curve.label}: click or drag to go to that time` });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", curve.label);
    const move = (event) => {
      const box = canvas.getBoundingClientRect(), time = axisTime(event.clientX - box.left, box.width);
      state.hover = { key, time };
      if (event.buttons) { setPlaying(false); seek(time); } else draw();
    };
    canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); move(event); };
    canvas.onpointermove = move;
    canvas.onpointerleave = () => { state.hover = null; draw(); };
    charts.append(canvas);
    return { key, curve, canvas };
  });
  const tip = element("div", { className: "tip" });
  charts.append(tip);

  // --- time ----------------------------------------------------------------------------------------------------
  const truth = () => state.tracks[0];
  const duration = () => Math.max(...state.tracks.map((track) => (track.count - 1) / track.fps));
  const frameOf = (track, time = state.time) => Math.round(time * track.fps + 1e-6);
  const LEFT = 36, RIGHT = 10; // pixels of a chart beside its axes
  const axisTime = (x, width) => Math.min(Math.max((x - LEFT) / (width - LEFT - RIGHT), 0), 1) * duration();

  function seek(time) {
    const fastest = Math.max(...state.tracks.map((track) => track.fps));
    state.time = Math.min(Math.max(Math.round(time * fastest) / fastest, 0), duration());
    draw();
  }
  function step(by) {
    setPlaying(false);
    seek(state.time + by / Math.max(...state.tracks.map((track) => track.fps)));
  }
  function setPlaying(on) {
    if (on && state.time >= duration()) state.time = 0;
    if (on && !state.playing) { state.last = undefined; requestAnimationFrame(tick); }
    state.playing = on;
    play.textContent = on ? "⏸" : "▶";
  }
  function tick(now) {
    if (!state.playing || !el.isConnected) return;
    if (state.last !== undefined) state.time += (now - state.last) / 1000 * state.speed;
    state.last = now;
    const end = duration() + 0.5 / truth().fps;
    if (state.time > end) {
      if (state.loop) state.time = 0; else { state.time = duration(); setPlaying(false); }
    }
    draw();
    el.dataset.drawn = +(el.dataset.drawn ?? 0) + 1;
    requestAnimationFrame(tick);
  }
  el.onkeydown = (event) => {
    if (event.target.tagName === "SELECT" || event.target.type === "range") return;
    if (event.altKey || event.ctrlKey || event.metaKey || (event.target.type === "checkbox" && event.key === " ")) return;
    const act = { " ": () => setPlaying(!state.playing), ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => seek(0), End: () => seek(duration()) }[event.key];
    if (!act || (event.target.tagName === "BUTTON" && event.key === " ")) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };

  // --- drawing -------------------------------------------------------------------------------------------------
  const brightness = (rgb) => (0.21 * rgb[0] + 0.72 * rgb[1] + 0.07 * rgb[2]) / 255;
  const readable = ({ colour }) => { // dark colours become lighter on a dark page
    const onDark = brightness(getComputedStyle(el).color.match(/[\d.]+/g)) > 0.5, rgb = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return onDark && brightness(rgb) < 0.4 ? `rgb(${rgb.map((one) => Math.round(0.6 * one + 102)).join(",")})` : colour;
  };
  const inkOf = (track) => (track.truth ? "currentColor" : readable(track));
  const colourOf = (track, onVideo) => (onVideo ? track.colour : track.truth ? getComputedStyle(el).color : readable(track));
  const visible = () => state.tracks.filter((track) => track.truth || !state.hidden.has(track.name));

  // sizes a canvas for the screen's pixels; returns its context in CSS pixels
  function fit(canvas, width, height) {
    const ratio = window.devicePixelRatio || 1, [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) {
      Object.assign(canvas, { width: w, height: h });
      Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return context;
  }
  function drawFrame(context, track, side) {
    const frame = Math.min(frameOf(track), track.count - 1), [width, height] = track.size;
    context.imageSmoothingEnabled = false;
    context.drawImage(track.sheet, (frame % track.columns) * width, Math.floor(frame / track.columns) * height, width, height, 0, 0, side, side * height / width);
  }
  function drawOutline(context, track, side) {
    const frame = frameOf(track), scale = side / track.size[0];
    if (frame >= track.count) return;
    context.save();
    context.scale(scale, scale);
    for (const [colour, width] of [["rgba(255,255,255,.85)", 3], [colourOf(track, true), 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width / scale;
      context.stroke(outline(track, frame));
    }
    context.restore();
  }
  function drawTrail(context, track, side) {
    const scale = side / track.size[0], last = Math.min(frameOf(track), track.count - 1);
    context.strokeStyle = context.fillStyle = colourOf(track, true);
    for (let frame = Math.max(0, last - Math.ceil(TAIL * track.fps)); frame <= last; frame++) {
      const [x, y] = [track.x[frame], track.y[frame]];
      if (!known(x)) continue;
      context.globalAlpha = 1 - 0.85 * (last - frame) / Math.ceil(TAIL * track.fps);
      context.beginPath();
      context.arc(x * scale, y * scale, frame === last ? 3.2 : 1.8, 0, 2 * Math.PI);
      context.fill();
      if (frame > 0 && known(track.x[frame - 1])) {
        context.beginPath();
        context.moveTo(track.x[frame - 1] * scale, track.y[frame - 1] * scale);
        context.lineTo(x * scale, y * scale);
        context.stroke();
      }
    }
    context.globalAlpha = 1;
  }
  function drawPath(context, side, points, colour) { // points: [[t, x, y]] of a fitted or ideal fall
    const scale = side / truth().size[0];
    context.setLineDash([3, 3]);
    context.strokeStyle = colour;
    context.beginPath();
    for (const [, x, y] of points) context.lineTo(x * scale, y * scale);
    context.stroke();
    context.setLineDash([]);
  }
  function lostWhy(track) {
    const frame = frameOf(track);
    if (frame >= track.count) return "video has ended";
    return known(track.y[frame]) ? "" : "object not found";
  }
  const side = () => { // two rows of videos where there are many
    const shots = visible().length + 1, columns = shots > 3 ? Math.ceil(shots / 2) : shots;
    return Math.floor(Math.max(96, Math.min(256, (stage.clientWidth || 640) / columns - 8)));
  };

  function draw() {
    if (!state.tracks.length) return;
    const size = side(), height = size * truth().size[1] / truth().size[0];
    for (const { track, canvas, note } of panels) {
      const context = fit(canvas, size, height);
      drawFrame(context, track, size);
      drawOutline(context, track, size);
      drawTrail(context, track, size);
      note.textContent = lostWhy(track);
    }
    const context = fit(overlay, size, height);
    drawFrame(context, truth(), size);
    if (truth().ideal) drawPath(context, size, truth().ideal, "white");
    for (const track of visible()) { drawOutline(context, track, size); drawTrail(context, track, size); }
    graphs.forEach(drawGraph);
    drawTip();
    slider.value = state.time;
    readout.textContent = `t = ${state.time.toFixed(3)} s, frame ${Math.min(frameOf(truth()), truth().count - 1)} of ${truth().count - 1}`;
  }
  const timesOf = (track, curve) => (curve.paired ? track.paired.time : track.time);
  const valuesOf = (track, key) => (CURVES[key].paired ? track.paired[key] : track[key]);

  function drawGraph({ key, curve, canvas }) {
    const width = charts.clientWidth / (charts.clientWidth > 400 ? 2 : 1) - 8, height = 150;
    const context = fit(canvas, Math.max(width, 180), height), ink = getComputedStyle(el).color;
    const [w, top, bottom] = [Math.max(width, 180), 18, height - 16];
    context.clearRect(0, 0, w, height);
    const drawn = visible().filter((track) => !(curve.paired && track.truth));
    const all = drawn.flatMap((track) => valuesOf(track, key)).filter(known);
    let [low, high] = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
    if (curve.zero) low = Math.min(0, low);
    if (curve.top) high = Math.max(curve.top, high);
    if (high - low < (curve.least ?? 1e-3)) { const middle = (high + low) / 2, half = (curve.least ?? 1) / 2; [low, high] = [middle - half, middle + half]; }
    const X = (time) => LEFT + (w - LEFT - RIGHT) * time / duration();
    const Y = (value) => { const share = (value - low) / (high - low); return curve.down ? top + share * (bottom - top) : bottom - share * (bottom - top); };
    context.font = "11px sans-serif";
    context.fillStyle = ink;
    context.textAlign = "left";
    context.fillText(curve.label, LEFT, 11);
    context.globalAlpha = 0.75;
    context.textAlign = "right";
    const digits = high - low < 3 ? 2 : 0;
    for (const value of [low, high]) context.fillText(value.toFixed(digits), LEFT - 4, Y(value) + 4);
    context.textAlign = "center";
    for (const time of [0, duration() / 2, duration()]) context.fillText(`${time.toFixed(2)}${time ? "" : " s"}`, Math.min(X(time), w - 14), height - 3);
    context.globalAlpha = 0.25;
    context.strokeStyle = ink;
    context.strokeRect(X(0), top, X(duration()) - X(0), bottom - top);
    context.globalAlpha = 1;
    const line = (times, values, colour, dash, thick) => {
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.setLineDash(dash);
      context.beginPath();
      let pen = false;
      values.forEach((value, i) => {
        if (!known(value)) { pen = false; return; }
        if (pen) context.lineTo(X(times[i]), Y(value)); else context.moveTo(X(times[i]), Y(value));
        pen = true;
      });
      context.stroke();
      context.setLineDash([]);
      context.lineWidth = 1;
    };
    context.save();
    context.beginPath();
    context.rect(X(0) - 1, top - 2, X(duration()) - X(0) + 2, bottom - top + 4);
    context.clip();
    if (key === "y" && truth().ideal) line(truth().ideal.map((p) => p[0]), truth().ideal.map((p) => p[2]), ink, [2, 3], 1);
    for (const track of drawn) {
      const colour = colourOf(track, false), times = timesOf(track, curve), values = valuesOf(track, key);
      if (key === "y" && track.fit) line(track.fit.map((p) => p[0]), track.fit.map((p) => p[2]), colour, [6, 3], 1);
      line(times, values, colour, [], 1.5);
      context.fillStyle = colour;
      context.font = "8px sans-serif";
      values.forEach((value, i) => {
        if (known(value)) context.fillText(track.shape, X(times[i]), Y(value) + 3);
        else if (key === "x" || key === "y") context.fillText("×", X(times[i]), bottom - 2); // a frame without the object
      });
      if (key === "y" && known(track.landing)) { // contact: a triangle on the time axis
        context.beginPath();
        context.moveTo(X(track.landing), bottom - 8);
        context.lineTo(X(track.landing) - 5, bottom);
        context.lineTo(X(track.landing) + 5, bottom);
        context.fill();
      }
    }
    context.restore();
    context.strokeStyle = ink;
    context.globalAlpha = 0.5;
    context.beginPath();
    context.moveTo(X(Math.min(state.time, duration())), top);
    context.lineTo(X(Math.min(state.time, duration())), bottom);
    context.stroke();
    context.globalAlpha = 1;
  }
  function drawTip() {
    tip.style.display = state.hover ? "block" : "none";
    if (!state.hover) return;
    const { key, time } = state.hover, metres = truth().metres_per_pixel;
    tip.replaceChildren(element("b", { textContent: `${time.toFixed(3)} s` }), ...visible().filter((track) => !(CURVES[key].paired && track.truth)).map((track) => {
      const times = timesOf(track, CURVES[key]), values = valuesOf(track, key);
      const at = Math.round(time / (times[1] - times[0] || 1)), value = values[at];
      const unit = CURVES[key].paired ? "" : key === "speed" ? " px/s" : " px";
      const start = track[key]?.find(known), size = key === "speed" ? value : value - start;
      const real = !CURVES[key].paired && known(metres) ? `, ${(size * metres).toFixed(2)} ${key === "speed" ? "m/s" : "m from its start"}` : "";
      const text = at >= times.length ? "ended" : known(value) ? `${value.toFixed(2)}${unit}${real}` : "lost";
      return element("div", { style: { color: inkOf(track) }, textContent: `${track.name}: ${text}` });
    }));
  }

  // --- clips and methods ---------------------------------------------------------------------------------------
  function drawLegend() {
    legend.replaceChildren(...state.tracks.map((track) => {
      const box = element("input", { type: "checkbox", checked: !state.hidden.has(track.name), disabled: !!track.truth });
      box.onchange = () => { state.recorder?.stop(); state.hidden[box.checked ? "delete" : "add"](track.name); drawStage(); drawThumbnails(); draw(); };
      const falls = `g ${shown(track.g, 2)} m/s², lands ${shown(track.landing, 3)} s`;
      const numbers = track.truth ? falls : `${falls}, ${metrics.slice(0, 3).map((m) => `${m.label} ${shown(track.numbers[m.key], 3)}`).join(", ")}`;
      return element("label", {}, box, element("span", { className: "dot", style: { color: inkOf(track) }, textContent: track.shape }), element("b", { textContent: track.name }), ` ${numbers}`);
    }));
  }
  function drawStage() {
    panels = visible().map((track) => {
      const canvas = element("canvas"), note = element("div", { className: "note" });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `video: ${track.name}`);
      return { track, canvas, note, box: element("figure", {}, element("figcaption", { textContent: track.name, style: { color: inkOf(track) } }), canvas, note) };
    });
    overlay.setAttribute("role", "img");
    overlay.setAttribute("aria-label", "all tracks over the true video");
    const all = element("figure", {}, element("figcaption", { textContent: "all tracks" }), overlay, element("div", { className: "note", textContent: truth().ideal ? "dotted: g t²/2" : "" }));
    stage.replaceChildren(...panels.map((panel) => panel.box), all);
  }
  function order() {
    const metric = metrics.find((one) => one.key === sort.value);
    const worst = (view) => {
      const values = view.tracks.slice(1).filter((track) => !state.hidden.has(track.name)).map((track) => track.numbers[metric.key]).filter(known).map((value) => (metric.signed ? Math.abs(value) : metric.better === "high" ? -value : value));
      return values.length ? Math.max(...values) : -Infinity;
    };
    const indices = [...views.keys()].filter((index) => !state.cell || keyOf(views[index]) === state.cell);
    return metric ? indices.sort((a, b) => worst(views[b]) - worst(views[a])) : indices;
  }
  async function drawThumbnails() {
    shelf.replaceChildren(...order().map((index) => {
      const canvas = element("canvas", { width: 56, height: 56 }), track = views[index].tracks[0];
      picture(track.frames, false).then((sheet) => {
        const frame = Math.floor(track.count / 4), [w, h] = track.size;
        canvas.getContext("2d").drawImage(sheet, (frame % track.columns) * w, Math.floor(frame / track.columns) * h, w, h, 0, 0, 56, 56);
      });
      const made = element("button", { type: "button", title: views[index].name, onclick: () => choose(index) }, canvas);
      made.setAttribute("aria-label", `clip ${index}: ${views[index].name}`);
      made.setAttribute("aria-pressed", index === state.clip);
      made.dataset.clip = index;
      return made;
    }));
  }
  // --- a map whose cells hold the clips: means of the chosen method and metric; a click shows the cell's clips ---
  const keyOf = (view) => JSON.stringify(view.cell);
  const choice = (label, options) => {
    const made = element("select", { title: label, onchange: drawMap }, ...options.map(([value, text]) => element("option", { value, textContent: text })));
    made.setAttribute("aria-label", label);
    return made;
  };
  const mapMethod = choice("method of the map", views[0].tracks.slice(1).map(({ name }) => [name, name]));
  const mapMetric = choice("metric of the map", metrics.map(({ key, label }) => [key, label]));
  const map = element("div", { className: "map" });
  function drawMap() {
    const cells = new Map(views.map((view) => [keyOf(view), view.cell]));
    const edges = (name) => [...new Set([...cells.values()].map((cell) => cell[name][0]))].sort((a, b) => a - b);
    const [columns, rows] = [edges("distance"), edges("height").reverse()];
    const means = new Map([...cells.keys()].map((key) => {
      const values = views.filter((view) => keyOf(view) === key).map((view) => view.tracks.slice(1).find(({ name }) => name === mapMethod.value).numbers[mapMetric.value]).filter(known);
      return [key, values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null];
    }));
    const most = Math.max(...[...means.values()].filter(known).map(Math.abs), 1e-9);
    const put = (made, row, column) => { Object.assign(made.style, { gridRow: row + 1, gridColumn: column + 1 }); return made; };
    const said = (range, what) => `${range.join(" to ")} m ${what}`;
    const axes = new Map([...cells.values()].flatMap((cell) => [
      [`row ${cell.height}`, put(element("span", { textContent: said(cell.height, "high") }), rows.indexOf(cell.height[0]), 0)],
      [`column ${cell.distance}`, put(element("span", { textContent: said(cell.distance, "away") }), rows.length, columns.indexOf(cell.distance[0]) + 1)]]));
    map.replaceChildren(...axes.values(), ...[...cells].map(([key, cell]) => {
      const share = Math.abs(means.get(key) ?? 0) / most, [row, column] = [rows.indexOf(cell.height[0]), columns.indexOf(cell.distance[0]) + 1];
      const made = element("button", { type: "button", textContent: shown(means.get(key), 3), className: cell.inside ? "inside" : "",
        style: { background: `color-mix(in srgb, #08306b ${Math.round(100 * share)}%, #deebf7)`, webkitTextFillColor: share > 0.45 ? "white" : "black" },
        onclick: async () => { state.cell = state.cell === key ? null : key; drawMap(); drawThumbnails(); await choose(order()[0]); } });
      made.setAttribute("aria-label", `${said(cell.distance, "away")}, ${said(cell.height, "high")}, ${cell.inside ? "inside" : "outside"} the training range: ${made.textContent}`);
      made.setAttribute("aria-pressed", state.cell === key);
      return put(made, row, column);
    }));
  }

  const ready = new Map(); // clips that were decoded, the latest last; the next ones are decoded while nothing else is to do
  function decoded(index) {
    const tracks = ready.get(index) ?? decode(views[index]);
    ready.delete(index);
    ready.set(index, tracks);
    if (ready.size > KEPT) ready.delete(ready.keys().next().value);
    return tracks;
  }
  const idle = window.requestIdleCallback ?? ((act) => setTimeout(act, 200));
  async function choose(index) {
    state.asked = index;
    const tracks = await decoded(index);
    if (state.asked !== index) return; // another one was asked for meanwhile
    state.recorder?.stop();
    Object.assign(state, { clip: index, tracks, hover: null });
    state.time = Math.min(state.time, duration());
    slider.max = duration();
    title.textContent = views[index].name;
    for (const made of shelf.children) made.setAttribute("aria-pressed", +made.dataset.clip === index);
    drawLegend();
    drawStage();
    draw();
    el.dataset.clip = index;
    const around = order(), at = around.indexOf(index);
    for (const next of [around[at + 1], around[at - 1]]) if (next !== undefined && !ready.has(next)) idle(() => decoded(next));
  }

  // --- export --------------------------------------------------------------------------------------------------
  function save(blob, name) {
    const link = element("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  function table() {
    const rows = [["method", "frame", "time_s", "x_px", "y_px", "speed_px_s"].join(",")];
    for (const track of state.tracks) {
      track.time.forEach((time, i) => rows.push([JSON.stringify(track.name), i, time.toFixed(6), track.x[i] ?? "", track.y[i] ?? "", track.speed[i] ?? ""].join(",")));
    }
    return rows.join("\n") + "\n";
  }
  function saveTable() { save(new Blob([table()], { type: "text/csv" }), `clip_${state.clip}.csv`); }
  function record() { // plays once from the start and records all panels side by side; a second click ends it
    if (state.recorder) { state.recorder.stop(); return; }
    const size = side(), height = size * truth().size[1] / truth().size[0] + 16, shots = [...panels, { canvas: overlay, track: { name: "all tracks" } }];
    const canvas = element("canvas"), context = fit(canvas, shots.length * size, height);
    const type = ["video/mp4", "video/webm"].find((one) => window.MediaRecorder?.isTypeSupported(one));
    if (!type) { readout.textContent = "this browser cannot record"; return; }
    const recorder = new MediaRecorder(canvas.captureStream(30), { mimeType: type }), parts = [], name = `clip_${state.clip}.${type.slice(6)}`;
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => {
      state.recorder = null;
      state.loop = loop.checked;
      save(new Blob(parts, { type }), name);
    };
    recorder.start();
    state.recorder = recorder;
    state.loop = false;
    state.time = 0;
    setPlaying(true);
    const copy = () => {
      context.fillStyle = "white";
      context.fillRect(0, 0, shots.length * size, height);
      context.fillStyle = "black";
      context.font = "11px sans-serif";
      shots.forEach(({ canvas: shot, track }, i) => { context.drawImage(shot, i * size, 16, size, height - 16); context.fillText(track.name, i * size + 3, 12); });
      if (recorder.state !== "recording") return;
      if (state.playing) requestAnimationFrame(copy); else setTimeout(() => recorder.state === "recording" && recorder.stop(), 100);
    };
    copy();
  }

  new ResizeObserver(() => draw()).observe(el);
  if (views[0].cell) {
    el.prepend(element("div", { className: "bar" }, mapMethod, mapMetric, "mean of a cell's clips; a click shows them, a second click all; thick border: training range"), map);
    drawMap();
  }
  await choose(0);
  drawThumbnails();
  el.dataset.ready = "yes";
  el.pisaPlayer = { state, seek, setPlaying, choose, table }; // for tests, and for whoever likes to script it
}

export default { render };
