#include "report/page.hpp"

namespace dormer::report {

// Colours: c0 to c7 tell things apart; v0 (best) to v7 (worst) stand for an order and fade into the ground.
std::string_view page_style() {
  return R"css(
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1c1f23; --soft: #5b6470; --rule: #d5dae0; --quiet: #aab3bd; --panel: #f4f6f8;
  --c0: #0b62ad; --c1: #b84a00; --c2: #00735a; --c3: #98307f; --c4: #7a5f00; --c5: #111827; --c6: #b3261e; --c7: #555d66;
  --v0: #440154; --v1: #46327e; --v2: #365c8d; --v3: #277f8e; --v4: #1fa187; --v5: #63b944; --v6: #b5bd2a; --v7: #e6cf3a; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c; --ink: #e6e9ed; --soft: #a4adb8; --rule: #363d46; --quiet: #59626d; --panel: #1e2329;
  --c0: #6cb3f5; --c1: #f5a15c; --c2: #56cfae; --c3: #e38bcf; --c4: #dcc352; --c5: #ffffff; --c6: #ff8f86; --c7: #b5bdc7;
  --v0: #fde725; --v1: #b5de2b; --v2: #6ece58; --v3: #35b779; --v4: #1f9e89; --v5: #2b7d90; --v6: #3e5f94; --v7: #5a4690; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 62rem; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; } h2 { margin: 2.2rem 0 0.4rem; font-size: 1.15rem; }
h3 { margin: 0.6rem 0 0.2rem; font-size: 0.98rem; overflow-wrap: anywhere; }
p { margin: 0.3rem 0; } .soft, figcaption { color: var(--soft); font-size: 0.92rem; }
figure { margin: 0; min-width: 0; } figcaption { margin-top: 0.3rem; }
svg { display: block; width: 100%; height: auto; }
.still { overflow-x: auto; } .still > svg { min-width: 34rem; } .plots .still > svg { min-width: 0; }
.still text { fill: var(--soft); font-size: 12px; } .grid { stroke: var(--rule); fill: none; } .axis { stroke: var(--soft); fill: none; }
.still .name { fill: var(--ink); font-weight: 600; } .still .halo { fill: var(--ink); font-size: 11px; paint-order: stroke; stroke: var(--ground); stroke-width: 3.5px; stroke-linejoin: round; }
.c0 { --tone: var(--c0); } .c1 { --tone: var(--c1); } .c2 { --tone: var(--c2); } .c3 { --tone: var(--c3); }
.c4 { --tone: var(--c4); } .c5 { --tone: var(--c5); } .c6 { --tone: var(--c6); } .c7 { --tone: var(--c7); }
.v0 { --tone: var(--v0); } .v1 { --tone: var(--v1); } .v2 { --tone: var(--v2); } .v3 { --tone: var(--v3); }
.v4 { --tone: var(--v4); } .v5 { --tone: var(--v5); } .v6 { --tone: var(--v6); } .v7 { --tone: var(--v7); }
.quiet { --tone: var(--quiet); } .failed { --tone: var(--c6); }
.line { fill: none; stroke: var(--tone); stroke-width: 1.8; stroke-linejoin: round; } .line.quiet { stroke-width: 1; }
.d1 { stroke-dasharray: 7 4; } .d2 { stroke-dasharray: 2 4; } .d3 { stroke-dasharray: 8 4 2 4; }
.point { fill: var(--tone); stroke: var(--ground); stroke-width: 0.6; } .bar { fill: var(--tone); }
rect.bar { stroke: var(--ground); stroke-width: 0.6; }
.trial { fill: none; stroke: var(--tone); stroke-width: 1.3; stroke-opacity: 0.85; } .trial.v0 { stroke-width: 2.2; stroke-opacity: 1; }
.trial.failed { stroke-dasharray: 4 3; } .trial:hover, .line.quiet:hover { stroke-width: 4; stroke-opacity: 1; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; margin: 0 0 0.3rem; padding: 0; font-size: 0.92rem; }
.legend svg { display: inline-block; width: 28px; height: 10px; vertical-align: middle; margin-right: 0.4rem; }
.key { display: flex; flex-wrap: wrap; align-items: center; gap: 0.6rem; font-size: 0.92rem; } .key svg { width: 128px; height: 10px; }
.live { height: 22rem; } .live[hidden] { display: none; } .interactive .still { display: none; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); gap: 0.8rem 1.5rem; }
.tiles { display: flex; flex-wrap: wrap; gap: 0.6rem; margin: 1.2rem 0 0; }
.tiles div { flex: 1 1 auto; min-width: 5.5rem; padding: 0.6rem 0.7rem; border-radius: 0.5rem; background: var(--panel); } .tiles dt { color: var(--soft); font-size: 0.85rem; }
.tiles dd { margin: 0; font-size: 1.2rem; font-weight: 600; line-height: 1.4; white-space: nowrap; } .tiles .soft { font-size: 0.82rem; font-weight: 400; white-space: normal; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 0.8rem; } .gallery img { width: 100%; height: auto; border-radius: 0.3rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.9rem 0.2rem 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; overflow-wrap: normal; } tbody th { font-weight: 500; min-width: 11rem; }
.close tbody th { min-width: 0; } .close th, .close td { padding-right: 0.8rem; } .close :is(th, td):not(.text) { white-space: nowrap; overflow-wrap: normal; }
.interval { width: 120px; height: 14px; margin-top: 0.3rem; }
summary { cursor: pointer; margin-top: 2.2rem; font-size: 1.15rem; font-weight: 700; }
.item summary { margin-top: 0.25rem; font-size: 0.95rem; font-weight: 500; } .item[open] { margin-bottom: 0.8rem; } .item > :not(summary) { margin-left: 1.1rem; }
pre { margin: 0.4rem 0; padding: 0.6rem 0.8rem; border-radius: 0.4rem; background: var(--panel); font-size: 0.85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { .live { display: none; } .interactive .still { display: block; } }
)css";
}

}  // namespace dormer::report
