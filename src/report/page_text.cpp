#include "report/page.hpp"

namespace dormer::report {

std::string_view page_style() {
  return R"css(
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1c1f23; --soft: #5b6470; --rule: #d5dae0;
  --c0: #0b62ad; --c1: #b84a00; --c2: #00735a; --c3: #98307f; --c4: #7a5f00; --c5: #111827; --c6: #b3261e; --c7: #555d66; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c; --ink: #e6e9ed; --soft: #a4adb8; --rule: #363d46;
  --c0: #6cb3f5; --c1: #f5a15c; --c2: #56cfae; --c3: #e38bcf; --c4: #dcc352; --c5: #ffffff; --c6: #ff8f86; --c7: #b5bdc7; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 62rem; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; } h2 { margin: 2.2rem 0 0.4rem; font-size: 1.15rem; }
p { margin: 0.3rem 0; } .soft, figcaption { color: var(--soft); font-size: 0.92rem; }
figure { margin: 0; } figcaption { margin-top: 0.3rem; }
svg { display: block; width: 100%; height: auto; }
.still text { fill: var(--soft); font-size: 12px; } .grid { stroke: var(--rule); fill: none; } .axis { stroke: var(--soft); fill: none; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.d1 { stroke-dasharray: 7 4; } .d2 { stroke-dasharray: 2 4; } .d3 { stroke-dasharray: 8 4 2 4; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); } .line.c3 { stroke: var(--c3); }
.line.c4 { stroke: var(--c4); } .line.c5 { stroke: var(--c5); } .line.c6 { stroke: var(--c6); } .line.c7 { stroke: var(--c7); }
.point.c0 { fill: var(--c0); } .point.c1 { fill: var(--c1); } .point.c2 { fill: var(--c2); } .point.c3 { fill: var(--c3); }
.point.c4 { fill: var(--c4); } .point.c5 { fill: var(--c5); } .point.c6 { fill: var(--c6); } .point.c7 { fill: var(--c7); }
.legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; margin: 0; padding: 0; list-style: none; font-size: 0.92rem; }
.legend svg { display: inline-block; width: 28px; height: 10px; vertical-align: middle; margin-right: 0.4rem; }
.live { height: 22rem; } .live[hidden] { display: none; } .interactive .still { display: none; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.92rem; }
th, td { padding: 0.2rem 0.9rem 0.2rem 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; overflow-wrap: normal; } tbody th { font-weight: 500; min-width: 11rem; }
summary { cursor: pointer; margin-top: 2.2rem; font-size: 1.15rem; font-weight: 700; }
@media print { .live { display: none; } .interactive .still { display: block; } }
)css";
}

std::string_view page_script() {
  return R"js(
(() => {
  if (!window.Plotly) return;
  const dashes = ["solid", "dash", "dot", "dashdot"];
  // Named one by one: others of Plotly's buttons open pages of its makers.
  const options = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  const draw = (plot) => {
    const figure = document.getElementById(plot.id);
    const target = figure.querySelector(".live");
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    const axis = (title) => ({ title: { text: title }, gridcolor: colour("rule"), linecolor: colour("soft"), zeroline: false, automargin: true });
    const traces = plot.series.map((series, index) => ({
      type: "scatter", name: series.name, x: series.x, y: series.y, text: series.labels,
      mode: series.labels.length ? "markers" : series.x.length <= 40 ? "lines+markers" : "lines",
      hovertemplate: series.labels.length ? "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>" : "%{y:.6g}",
      line: { color: colour("c" + index % 8), dash: dashes[Math.floor(index / 8) % 4], width: 2 },
      marker: { color: colour("c" + index % 8), size: series.labels.length ? 8 : 5 },
    }));
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("ink"), family: "system-ui, sans-serif", size: 12 },
      margin: { l: 60, r: 14, t: 34, b: 46 }, showlegend: plot.series.length > 1, legend: { orientation: "h", yanchor: "top", y: -0.3 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: colour("ink") },
      hoverlabel: { bgcolor: colour("ground"), font: { color: colour("ink") } },
      hovermode: plot.series.some((series) => series.labels.length) ? "closest" : "x unified", xaxis: axis(plot.x), yaxis: axis(plot.y),
    };
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
