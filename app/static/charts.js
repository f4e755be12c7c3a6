// Line charts of a run's metrics as SVG: one figure per group of metrics, any number of runs in it.
const astraiCharts = (() => {
  const WIDTH = 460, HEIGHT = 210, LEFT = 52, RIGHT = 12, TOP = 12, BOTTOM = 26;
  const DASHES = ["", "6 4", "2 3"];
  const escaped = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

  const short = (value) => {
    if (!Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    const shared = (unit) => Number((value / unit).toPrecision(4));
    if (size >= 1e9) return `${shared(1e9)}G`;
    if (size >= 1e6) return `${shared(1e6)}M`;
    if (size >= 1e4) return `${shared(1e3)}k`;
    if (size !== 0 && size < 1e-3) return value.toExponential(1);
    return String(Number(value.toPrecision(4)));
  };

  // About four round numbers within a range.
  const ticks = (low, high) => {
    const rough = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const found = [];
    for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(value);
    return found;
  };

  const extent = (lines, pick) => {
    let low = Infinity, high = -Infinity;
    for (const line of lines) {
      for (const value of pick(line)) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    return [low, high];
  };

  const scales = (lines) => {
    const [first, last] = extent(lines, (line) => line.steps);
    let [low, high] = extent(lines, (line) => line.values);
    const margin = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    if (low < 0 || low - margin > 0) low -= margin;
    else low = 0;
    high += margin;
    const wide = Math.max(last - first, 1);
    return {
      first, last, low, high,
      x: (step) => LEFT + (step - first) / wide * (WIDTH - LEFT - RIGHT),
      y: (value) => TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM),
    };
  };

  const axes = ({ first, last, low, high, x, y }) => {
    const rows = ticks(low, high).map((value) =>
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value)}" y2="${y(value)}"/>` +
      `<text x="${LEFT - 7}" y="${y(value) + 4}" text-anchor="end">${short(value)}</text>`);
    const columns = last > first ? ticks(first, last) : [first];
    const below = columns.filter(Number.isInteger).map((step) =>
      `<text x="${x(step)}" y="${HEIGHT - 7}" text-anchor="middle">${short(step)}</text>`);
    return rows.join("") + below.join("");
  };

  const drawn = (line, { x, y }) => {
    const points = line.steps.map((step, index) => `${x(step).toFixed(1)},${y(line.values[index]).toFixed(1)}`);
    const style = `style="stroke: var(--run-${line.colour})" stroke-dasharray="${DASHES[line.dash % DASHES.length]}"`;
    const dots = line.dash || points.length === 1 ? line.steps.slice(-200).map((step, index) => {
      const place = line.steps.length - Math.min(line.steps.length, 200) + index;
      return `<circle cx="${x(step).toFixed(1)}" cy="${y(line.values[place]).toFixed(1)}" r="2.4" ` +
        `style="fill: var(--run-${line.colour})"/>`;
    }).join("") : "";
    return `<polyline points="${points.join(" ")}" ${style}/>${dots}`;
  };

  const legend = (lines) => lines.map((line) =>
    `<span><svg width="20" height="8" aria-hidden="true"><line x1="0" x2="20" y1="4" y2="4" ` +
    `style="stroke: var(--run-${line.colour})" stroke-dasharray="${DASHES[line.dash % DASHES.length]}"/></svg>` +
    `${escaped(line.label)} <b>${short(line.values.at(-1))}</b></span>`).join("");

  // The figure's HTML. `lines` have steps, values, label, colour and dash.
  const figure = (title, lines) => {
    const kept = lines.filter((line) => line.steps.length);
    if (!kept.length) return "";
    const scale = scales(kept);
    const spoken = kept.map((line) => `${line.label}: ${short(line.values.at(-1))}`).join("; ");
    return `<figcaption>${escaped(title)}</figcaption>` +
      `<svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(`${title}. ${spoken}`)}">` +
      `${axes(scale)}${kept.map((line) => drawn(line, scale)).join("")}` +
      `<line class="cursor" y1="${TOP}" y2="${HEIGHT - BOTTOM}" visibility="hidden"/></svg>` +
      `<div class="legend">${legend(kept)}</div>`;
  };

  const nearest = (steps, wanted) => {
    let low = 0, high = steps.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < wanted) low = middle + 1;
      else high = middle;
    }
    return low && wanted - steps[low - 1] < steps[low] - wanted ? low - 1 : low;
  };

  // The values at the pointer stand in the legend.
  const follow = (box, lines) => {
    const kept = lines.filter((line) => line.steps.length);
    const picture = box.querySelector("svg.chart");
    if (!picture) return;
    const scale = scales(kept);
    const cursor = picture.querySelector(".cursor");
    const figures = box.querySelectorAll(".legend b");
    const show = (places) => kept.forEach((line, index) => {
      const place = places?.[index] ?? line.values.length - 1;
      figures[index].textContent = places ? `${short(line.values[place])} @ ${line.steps[place]}` : short(line.values[place]);
    });
    picture.onpointermove = (event) => {
      const bounds = picture.getBoundingClientRect();
      const share = ((event.clientX - bounds.left) / bounds.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT);
      const wanted = scale.first + Math.min(Math.max(share, 0), 1) * (scale.last - scale.first);
      const places = kept.map((line) => nearest(line.steps, wanted));
      const x = scale.x(kept[0].steps[places[0]]);
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.setAttribute("visibility", "visible");
      show(places);
    };
    picture.onpointerleave = () => { cursor.setAttribute("visibility", "hidden"); show(null); };
  };

  return { figure, follow, short, escaped };
})();
