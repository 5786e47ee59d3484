#include "report/page.hpp"

namespace dormer::report {

std::string_view page_script() {
  return R"js(
(() => {
  if (!window.Plotly) return;
  const dashes = ["solid", "dash", "dot", "dashdot"];
  // Named one by one: others of Plotly's buttons open pages of its makers.
  const options = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");  // Plotly's texts are a kind of HTML
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue("--" + (name === "failed" ? "c6" : name)).trim();
  const around = (more) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("ink"), family: "system-ui, sans-serif", size: 12 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: colour("ink") },
    hoverlabel: { bgcolor: colour("ground"), font: { color: colour("ink") } }, ...more,
  });

  const axis = (spec, upright) => {
    const result = { title: { text: plain(spec.label) }, gridcolor: colour("rule"), linecolor: colour("soft"), zeroline: false, automargin: true };
    if (spec.log) Object.assign(result, { type: "log", tickvals: spec.ticks, ticktext: spec.texts });
    if (spec.categories) {
      const end = spec.categories.length - 0.5;
      const stride = Math.ceil(spec.categories.length / 24);
      const shown = spec.categories.map((_, index) => index).filter((index) => index % stride === 0);
      Object.assign(result, { tickvals: shown, ticktext: shown.map((index) => plain(spec.categories[index])), showgrid: false, range: upright ? [end, -0.5] : [-0.5, end] });
    }
    return result;
  };
  const trace = (plot, series, index) => {
    const paint = colour(series.colour || "c" + index % 8);
    const result = { name: plain(series.name), x: series.x, y: series.y, text: series.labels?.map(plain), showlegend: !series.unlisted };
    if (series.mark === "bars") {
      return Object.assign(result, { type: "bar", orientation: plot.sideways ? "h" : "v", width: 0.72, marker: { color: paint }, hovertemplate: "%{text}<extra></extra>", textposition: "none",
        base: series.base ?? 0, [plot.sideways ? "x" : "y"]: series[plot.sideways ? "x" : "y"].map((end, place) => end - (series.base?.[place] ?? 0)) });
    }
    const points = series.mark === "points";
    const dotted = series.x.length === 1 || (series.mark === "line" && !series.unlisted && series.x.length <= 40);
    return Object.assign(result, { type: "scatter", mode: points ? "markers" : dotted ? "lines+markers" : "lines",
      hovertemplate: points ? "%{text}" + (series.tellAll ? "" : "<br>%{x:.4g}, %{y:.4g}") + "<extra></extra>" : series.unlisted ? result.name + ": %{y:.6g}<extra></extra>" : "%{y:.6g}",
      line: { color: paint, dash: series.colour ? "solid" : dashes[Math.floor(index / 8) % 4], width: series.unlisted ? 1 : 2, shape: series.mark === "steps" ? "hv" : "linear" },
      marker: { color: paint, size: points ? 8 : 5, line: { color: colour("ground"), width: points ? 0.6 : 0 } } });
  };
  const flat = (plot) => {
    const lines = plot.series.every((series) => series.mark === "line" && !series.unlisted);
    return [plot.series.map((series, index) => trace(plot, series, index)), around({
      margin: { l: 60, r: 14, t: 34, b: plot.x.label ? 46 : 28 }, showlegend: plot.series.filter((series) => !series.unlisted).length > 1, barmode: "overlay", bargap: 0.28,
      legend: { orientation: "h", yanchor: "top", y: plot.small ? -0.4 : -0.3 }, hovermode: lines ? "x unified" : "closest", xaxis: axis(plot.x, false), yaxis: axis(plot.y, true) })];
  };

  const parallel = (plot) => {
    const traces = [];
    for (const line of plot.lines) {
      let last = traces.at(-1);
      if (last?.name !== line.colour) {
        last = { type: "scatter", mode: "lines", name: line.colour, x: [], y: [], text: [], hovertemplate: "%{text}<extra></extra>", connectgaps: false,
          line: { color: colour(line.colour), width: line.colour === "v0" ? 2.2 : 1.3, dash: line.colour === "failed" ? "dash" : "solid" } };
        traces.push(last);
      }
      const add = (x, y, text) => { last.x.push(x); last.y.push(y); last.text.push(text); };
      line.heights.forEach((height, index) => {
        const before = line.heights[index - 1];
        if (height === null) return;
        for (let part = 1; index > 0 && part < 8; ++part) {  // leaves and arrives level
          const at = part / 8;
          add(index - 1 + at, before + (height - before) * at * at * (3 - 2 * at), plain(line.label));
        }
        add(index, height, plain(line.label) + "<br>" + plain(plot.axes[index].name) + ": " + plain(line.texts[index]));
      });
      add(null, null, "");
    }
    const two_rows = plot.axes.length > 5;
    const names = plot.axes.map((one, index) => ({ x: index, y: 1, yshift: two_rows && index % 2 ? 36 : 18, text: "<b>" + plain(one.name) + "</b>", showarrow: false }));
    const ticks = plot.axes.flatMap((one, index) => one.ticks.map(([height, text]) => ({ x: index, y: height, xanchor: "left", xshift: 3, text: plain(text), showarrow: false,
      bgcolor: colour("ground"), opacity: 0.85, borderpad: 0, font: { size: 11 } })));
    const blank = { showgrid: false, zeroline: false, showticklabels: false };
    return [traces, around({
      margin: { l: 50, r: 70, t: 84, b: 14 }, showlegend: false, hovermode: "closest", annotations: [...names, ...ticks], xaxis: { ...blank, range: [-0.05, plot.axes.length - 0.95] },
      yaxis: { ...blank, range: [-0.02, 1.02] }, shapes: plot.axes.map((_, index) => ({ type: "line", x0: index, x1: index, y0: 0, y1: 1, line: { color: colour("soft"), width: 1 } })) })];
  };

  const draw = (plot) => {
    const figure = document.getElementById(plot.id);
    const target = figure.querySelector(".live");
    const [traces, layout] = plot.axes ? parallel(plot) : flat(plot);
    target.hidden = false;
    figure.classList.add("interactive");
    const stay = (error) => {  // the still picture stays
      target.hidden = true;
      figure.classList.remove("interactive");
      console.error(error);
    };
    try {
      Promise.resolve(Plotly.react(target, traces, layout, options)).catch(stay);
    } catch (error) {
      stay(error);
    }
  };
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const draw_all = () => plots.forEach(draw);
  draw_all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw_all);
})();
)js";
}

}  // namespace dormer::report
