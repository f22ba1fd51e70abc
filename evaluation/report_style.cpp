#include "evaluation/report_style.h"

namespace keel::evaluation {

// Colours follow Okabe and Ito's palette, darkened or lightened until each stands out 3:1 from its background; dashes and marker shapes
// tell the series apart without colour. Figures draw with currentColor and name only the class of a series (c0..c6).
const std::string_view kReportStyle = R"css(
:root{color-scheme:light dark;--page:#f6f7f8;--card:#fff;--text:#1b1f24;--muted:#59636e;--rule:#d8dde2;--grid:#e8ebee;--soft:#f1f3f5;
--bad:#c8102e;--link:#0a5c9e;
--c0:#0072b2;--c1:#d55e00;--c2:#00875f;--c3:#b0568a;--c4:#a87400;--c5:#2b8cc4;--c6:#68717a}
@media (prefers-color-scheme:dark){:root{--page:#111418;--card:#191d22;--text:#e4e7ea;--muted:#9aa5b1;--rule:#343b43;--grid:#272d34;
--soft:#21262c;--bad:#ff6b7d;--link:#7cc0f5;
--c0:#58b1ec;--c1:#ff8b4d;--c2:#35c796;--c3:#e493c1;--c4:#e9b436;--c5:#9bd3f7;--c6:#a3adb8}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main,header,nav,footer{max-width:74rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:2.75rem}
h1{font-size:1.9rem;line-height:1.2;margin:0;letter-spacing:-.015em}
h2{font-size:1.3rem;line-height:1.3;margin:3rem 0 .4rem;letter-spacing:-.01em}
.subtitle{color:var(--muted);font-size:1.05rem;margin:.35rem 0 0}
section>p{max-width:46rem;margin:.4rem 0 .9rem}
a{color:var(--link)}
.facts{display:flex;flex-wrap:wrap;gap:.35rem 1.75rem;margin:1.1rem 0 0;font-size:.875rem}
.facts div{display:flex;gap:.45rem}
.facts dt{color:var(--muted)}
.facts dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
nav{margin-top:1.4rem;font-size:.875rem}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.2rem;margin:0;padding:.6rem 0;border-top:1px solid var(--rule);border-bottom:1px solid var(--rule)}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
.figures{display:grid;gap:1.1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,29rem),1fr));margin:1rem 0;align-items:stretch}
.figures.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}
figure,.card{margin:0;padding:1rem 1.1rem .8rem;background:var(--card);border:1px solid var(--rule);border-radius:8px;min-width:0}
.card{margin:1rem 0}
figcaption,.card h3{font-weight:600;font-size:.98rem;line-height:1.35;margin:0 0 .4rem}
figure>svg{display:block;width:100%;height:auto;overflow:visible}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;font-size:.8rem;margin:0 0 .45rem;font-variant-numeric:tabular-nums}
.legend span{display:inline-flex;align-items:center;gap:.4rem}
.key{width:26px;height:14px;flex:none}
.note{color:var(--muted);font-size:.8rem;line-height:1.45;margin:.45rem 0 .3rem;overflow-wrap:anywhere}
.warn{color:var(--bad)}
svg text{font-size:11px;fill:var(--text);font-variant-numeric:tabular-nums}
svg .tick,svg .label{fill:var(--muted)}
svg .group{font-weight:600}
svg .halo{fill:var(--muted);stroke:var(--card);stroke-width:3px;stroke-linejoin:round;paint-order:stroke}
.grid{stroke:var(--grid);stroke-width:1;fill:none}
.axis{stroke:var(--muted);stroke-width:1;fill:none}
.reference{stroke:var(--muted);stroke-width:1.2;stroke-dasharray:4 3;fill:none}
.line{stroke:currentColor;stroke-width:1.7;fill:none;stroke-linejoin:round;stroke-linecap:round}
.line.long{stroke-width:1.3}
.line[stroke-dasharray]{stroke-linecap:butt}
.whisker{stroke:currentColor;stroke-width:1.8;fill:none}
.mean{stroke:currentColor;stroke-width:1.2;fill:none;opacity:.75}
.area{fill:currentColor;opacity:.13;stroke:none}
.dot{fill:currentColor;stroke:var(--card);stroke-width:.8}
.cloud{fill:currentColor;fill-opacity:.5;stroke:currentColor;stroke-opacity:.75;stroke-width:.6}
.bar{fill:currentColor;opacity:.85}
.bad{stroke:var(--bad);stroke-width:2;fill:none}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)}.c6{color:var(--c6)}
details{font-size:.8rem;margin-top:.2rem}
summary{cursor:pointer;color:var(--muted);width:max-content}
details .scroll{max-height:20rem;overflow:auto;margin-top:.4rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;width:100%;font-size:.875rem}
.card table{width:auto;min-width:min(100%,40rem)}
details table{font-size:.78rem;width:auto;min-width:50%}
caption{text-align:left;font-weight:600;font-size:.98rem;padding:0 0 .5rem}
th,td{padding:.42rem 1.4rem .42rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
details th,details td{padding:.2rem .9rem .2rem 0}
th{font-weight:600;color:var(--muted);font-size:.92em;vertical-align:bottom}
tbody tr:last-child td{border-bottom:0}
td.num,th.num{text-align:right;padding:.42rem 0 .42rem 1.1rem}
details td.num,details th.num{padding:.2rem 0 .2rem 1.1rem}
.num+td:not(.num),.num+th:not(.num){padding-left:1.4rem}
td.num{white-space:nowrap}
.detail{color:var(--muted);font-size:.9em}
code{font:.92em/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.summary{padding:1.1rem 1.3rem .7rem;margin-top:1.6rem}
.summary table{font-size:.95rem;width:100%}
.summary td:first-child{font-weight:600}
.message{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font-size:.92rem;line-height:1.5}
.prompt{background:var(--soft);border-radius:6px;padding:.55rem .8rem;margin:.4rem 0}
.role{display:block;color:var(--muted);font-size:.75rem;letter-spacing:.03em}
.answers{display:grid;gap:.3rem 1.6rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,14rem),1fr));margin-top:.7rem}
.answer{border-top:3px solid currentColor;padding:.4rem 0 .5rem;min-width:0}
.answer>*{color:var(--text)}
.answer h4{margin:0 0 .25rem;font-size:.85rem}
.scores{color:var(--muted);font-size:.78rem;margin:.4rem 0 0;font-variant-numeric:tabular-nums}
.scores span{white-space:nowrap}
.empty{color:var(--muted);font-style:italic}
footer{color:var(--muted);font-size:.8rem;margin-top:3.5rem;padding-bottom:2.5rem}
@media (max-width:36rem){main,header,nav,footer{padding-left:.9rem;padding-right:.9rem}header{padding-top:1.5rem}h1{font-size:1.5rem}
figure,.card{padding:.8rem .75rem .6rem}svg text{font-size:12.5px}}
@media print{body{background:#fff}nav{display:none}figure,.card{break-inside:avoid}}
)css";

}  // namespace keel::evaluation
