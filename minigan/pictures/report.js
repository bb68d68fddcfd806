"use strict";
const dataOf = figure => JSON.parse(figure.querySelector("script").textContent);

for (const film of document.querySelectorAll(".film")) {
  const [picture, range, play, step] = ["img", "input", "button", "output"].map(name => film.querySelector(name));
  const frames = dataOf(film), last = frames.length - 1;
  frames[last].uri = picture.src;
  let timer = null;
  const show = i => {
    range.value = i;
    picture.src = frames[i].uri;
    step.textContent = frames[i].step;
    range.setAttribute("aria-valuetext", "step " + frames[i].step);
  };
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  play.onclick = () => {
    if (timer) return stop();
    if (+range.value === last) show(0);
    play.textContent = "Pause";
    timer = setInterval(() => { show(+range.value + 1); if (+range.value === last) stop(); },
                        Math.max(120, Math.min(600, 7000 / last)));
  };
  range.oninput = () => { stop(); show(+range.value); };
  range.setAttribute("aria-valuetext", "step " + frames[last].step);
  film.querySelector(".controls").hidden = false;
}

for (const chart of document.querySelectorAll(".chart")) {
  const plot = chart.querySelector(".plot"), cursor = chart.querySelector(".cursor");
  const label = chart.querySelector("output"), values = chart.querySelectorAll(".key b");
  const {last, lines} = dataOf(chart);
  const steps = [...new Set(lines.flatMap(line => line.steps))].sort((a, b) => a - b);
  const text = value => value == null ? "–" : String(+value.toPrecision(4)).replace("-", "−");
  let at = steps.length - 1;
  const show = (i, visible) => {
    at = Math.max(0, Math.min(steps.length - 1, i));
    const x = 100 * steps[at] / last + "%";
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", visible ? "visible" : "hidden");
    label.textContent = "step " + steps[at];
    lines.forEach((line, k) => {  // the newest number that there was then
      const ended = steps[at] > line.steps[line.steps.length - 1];
      const newest = line.steps.filter(step => step <= steps[at]).length - 1;
      values[k].textContent = text(ended ? null : line.values[newest]);
    });
  };
  const leave = () => {
    cursor.setAttribute("visibility", "hidden");
    label.textContent = "at the end";
    lines.forEach((line, k) => values[k].textContent = text(line.values[line.values.length - 1]));
  };
  plot.onpointermove = event => {
    const box = plot.getBoundingClientRect(), step = last * (event.clientX - box.left) / box.width;
    show(steps.reduce((best, s, i) => Math.abs(s - step) < Math.abs(steps[best] - step) ? i : best, 0), true);
  };
  plot.onpointerleave = plot.onblur = leave;
  plot.onkeydown = event => {
    const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to, true);
  };
}
