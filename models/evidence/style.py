"""The style of an evidence page: light and dark as the reader's system is, and fit to be printed."""

from __future__ import annotations

STYLE = """
:root{--page:#f6f7f9;--card:#fff;--ink:#17202b;--soft:#5b6673;--line:#e1e5ea;--new:#1f6fd0;--old:#8a94a1;--pass:#1a7f4b;--fail:#c0322b;
--doubt:#9a6700;--track:#eef1f4}
@media (prefers-color-scheme:dark){:root{--page:#12161c;--card:#1a2028;--ink:#e6eaf0;--soft:#9aa6b4;--line:#2c3541;--new:#5aa2f5;--old:#7f8a97;
--pass:#4cc38a;--fail:#ff7a70;--doubt:#e0b040;--track:#252d37}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:960px;margin:0 auto;padding:24px 16px 48px}
header,section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 24px;margin:0 0 16px}
h1{font-size:28px;line-height:1.2;margin:0 0 8px}h2{font-size:17px;margin:0 0 12px}p{margin:0 0 10px}
.over{color:var(--soft);font-size:13px;margin:0}.said{margin-bottom:14px}.note,.legend{color:var(--soft);font-size:13px}
.verdict{font-size:17px;font-weight:600}.verdict span{display:inline-block;width:1.2em}
.pass{color:var(--pass)}.fail{color:var(--fail)}.inconclusive,.too_few{color:var(--doubt)}
.reasons{color:var(--fail);margin:0 0 12px;padding-left:20px}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:10px 24px;margin:0}
dl div{min-width:0}dt{color:var(--soft);font-size:12px}dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.legend span{margin-right:18px}.legend i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:6px;vertical-align:-1px}
i.new{background:var(--new)}i.old{background:var(--old)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:16px 28px}
figure{margin:0}figure.whole{margin-bottom:16px}figcaption{font-size:13px;font-weight:600;margin-bottom:4px}svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}svg .name{fill:var(--ink)}
.grid{stroke:var(--line)}.guide{stroke:var(--soft);stroke-dasharray:4 4}.limit{stroke:var(--soft);stroke-dasharray:5 4}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}.line.new,.whisker.new{stroke:var(--new)}.line.old,.whisker.old{stroke:var(--old)}
.dot.new,.bar.new{fill:var(--new)}.dot.old,.bar.old,rect.old{fill:var(--old)}.track{fill:var(--track)}.whisker{stroke-width:1.6}
.whisker.pass{stroke:var(--new)}.dot.pass{fill:var(--new)}.whisker.inconclusive{stroke:var(--doubt)}.dot.inconclusive{fill:var(--doubt)}
.whisker.fail{stroke:var(--fail)}.dot.fail{fill:var(--fail)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}th,td{text-align:left;padding:7px 10px 7px 0;vertical-align:top}
thead th{color:var(--soft);font-size:12px;font-weight:500}tbody tr{border-top:1px solid var(--line)}tr.part th{padding-top:14px;font-size:13px}
.n{text-align:right;padding-right:16px;font-variant-numeric:tabular-nums;white-space:nowrap}td small{display:block;color:var(--soft)}
.gate,td b{white-space:nowrap}
@media print{body{background:#fff}header,section{break-inside:avoid}}
""".replace("\n", "")
