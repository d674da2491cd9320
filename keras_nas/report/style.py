"""The page's style sheet: light, dark, phone and print. Series colours are Okabe and Ito's, which
colour-blind readers can tell apart."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--card:#f6f7f9;--ink:#1b1f24;--soft:#5b6570;
--rule:#dfe3e8;--blue:0 114 178;--k0:#0072b2;--k1:#e69f00;--k2:#009e73;--k3:#b0578d;
--limit:#c4420a;--plain:#9aa4af;--good:#0a7a57;--goodbg:#e6f4ee;--bad:#b3370a;--badbg:#fceee7;
--on:#fff}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--card:#1d2126;--ink:#e8eaed;
--soft:#a0a9b3;--rule:#31373e;--blue:86 180 233;--k0:#56b4e9;--k1:#e69f00;--k2:#2dbd92;
--k3:#d58bb8;--limit:#ff8552;--plain:#6b7580;--good:#5fd3a6;--goodbg:#16302a;--bad:#ff9d75;
--badbg:#3a2018;--on:#0d1114}}
@page{margin:14mm}
@media print{:root{color-scheme:light;--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--rule:#ccc;
--blue:0 114 178;--k0:#0072b2;--k1:#e69f00;--k2:#009e73;--k3:#b0578d;--limit:#c4420a;
--plain:#9aa4af;--good:#0a7a57;--goodbg:#fff;--bad:#b3370a;--badbg:#fff;--on:#fff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main,header{max-width:1080px;margin:0 auto;padding:0 20px}
header{padding-top:40px}
h1{font-size:32px;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:22px;line-height:1.3;margin:0 0 4px}
h3{font-size:15px;margin:20px 0 4px}
p{margin:4px 0 12px;max-width:76ch}
section{padding:28px 0;border-top:1px solid var(--rule)}
.soft,.missing,caption,figcaption{color:var(--soft)}
.missing{font-style:italic}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;padding:14px 0 20px;font-size:13px}
nav a{color:var(--soft)}
.verdict{border-radius:8px;padding:12px 16px;margin:18px 0;max-width:none;font-weight:600;
border-left:4px solid}
.verdict span{display:block;font-weight:400;color:var(--ink)}
.yes{background:var(--goodbg);color:var(--good);border-color:var(--good)}
.no{background:var(--badbg);color:var(--bad);border-color:var(--bad)}
.open{background:var(--card);color:var(--soft);border-color:var(--plain)}
dl.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:0}
.tiles div{background:var(--card);border-radius:8px;padding:12px 16px;border:1px solid var(--rule)}
.tiles dt{font-size:13px;color:var(--soft)}
.tiles dd{margin:0;font-size:21px;font-weight:650;line-height:1.3;white-space:nowrap}
.tiles dd small{display:block;white-space:normal;font-size:13px;font-weight:400;
color:var(--soft);line-height:1.4;margin-top:2px}
table{border-collapse:collapse;font-size:13px;width:100%;margin:0 0 12px}
caption{text-align:left;padding:0 0 6px;font-size:13px}
th,td{padding:4px 8px;text-align:left;vertical-align:middle;font-weight:400}
thead th{color:var(--soft);border-bottom:1px solid var(--rule);vertical-align:bottom}
.plain tbody tr+tr>*{border-top:1px solid var(--rule)}
.plain td,.plain th{overflow-wrap:break-word}
.plain tbody th{color:var(--soft)}
th.number,td.number{text-align:right;white-space:nowrap}
.scroll{overflow-x:auto}
.wide{width:26%}
.bar{display:block;height:10px;border-radius:2px;background:var(--k0);min-width:1px}
.bar.programs{background:var(--k1)}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:20px 32px;
align-items:start}.grid>*{min-width:0}
figure{margin:8px 0}
figcaption{font-size:13px;margin-bottom:4px}
svg{display:block;width:100%;height:auto}
svg text{font-size:12px;fill:var(--soft)}
svg text.value{fill:var(--ink)}
svg text.limit{fill:var(--limit);font-weight:600}
line.grid{stroke:var(--rule)}
.base{stroke:var(--plain)}
line.limit{stroke:var(--limit);stroke-width:1.6;stroke-dasharray:6 4}
.beyond{fill:var(--limit);opacity:.07}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.line.s0{stroke:var(--k0)}.line.s1{stroke:var(--k1);stroke-dasharray:7 3}
.line.s2{stroke:var(--k2);stroke-dasharray:2 3}.line.s3{stroke:var(--k3);stroke-dasharray:9 3 2 3}
.band{opacity:.2}
.s0{fill:var(--k0)}.s1{fill:var(--k1)}.s2{fill:var(--k2)}.s3{fill:var(--k3)}
.dot{stroke:var(--paper);stroke-width:1}
.line.s0,.line.s1,.line.s2,.line.s3{fill:none}
line.diagonal{stroke:var(--plain);stroke-dasharray:3 3}
.whisker{stroke:var(--ink);stroke-width:1.6}
.found{fill:var(--k1);stroke:var(--paper);stroke-width:1}
.span{fill:var(--plain);opacity:.45}
.legend{display:inline-flex;flex-wrap:wrap;gap:2px 14px;margin-left:12px}
.key{display:inline-flex;align-items:center;gap:5px;color:var(--ink)}
.swatch{display:inline-block;width:18px;height:4px;border-radius:1px}
.swatch.s0{background:var(--k0)}
.swatch.s1{background:repeating-linear-gradient(90deg,var(--k1) 0 6px,transparent 6px 9px)}
.swatch.s2{background:repeating-linear-gradient(90deg,var(--k2) 0 2px,transparent 2px 4px)}
.swatch.s3{background:var(--k3)}
.swatch.round{width:10px;height:10px;border-radius:50%}
.swatch.found{background:var(--k1);border-radius:0;transform:rotate(45deg)}
.swatch.diagonal{height:0;border-top:2px dotted var(--plain)}
.swatch.k0,.swatch.k1,.swatch.k2,.swatch.k3{width:14px;height:14px;border-radius:3px}
.swatch.k0{background:var(--k0)}.swatch.k1{background:var(--k1)}
.swatch.k2{background:var(--k2)}.swatch.k3{background:var(--k3)}
.scale{font-size:13px;color:var(--soft);display:flex;flex-wrap:wrap;align-items:center;gap:6px 8px}
.network td,.network th{padding:0 8px;height:36px;white-space:nowrap}
.network thead th{height:26px}
.network td.shape,.network th.shape{width:180px;padding:0 12px}
.network .shape svg{height:37px;width:156px;margin:-1px 0}
.network tbody+tbody>tr:first-child>*,tfoot>tr>*{border-top:1px solid var(--rule)}
.network tfoot{font-weight:650}.network tfoot *{font-weight:650}
.bar.k0{background:var(--k0)}.bar.k1{background:var(--k1)}.bar.k2{background:var(--k2)}
.bar.k3{background:var(--k3)}.bar.plain{background:var(--plain)}
.piece{stroke:var(--paper);stroke-width:1}
.piece.k0{fill:var(--k0)}.piece.k1{fill:var(--k1)}.piece.k2{fill:var(--k2)}.piece.k3{fill:var(--k3)}
.piece.plain{fill:var(--plain)}
.residual{fill:none;stroke:var(--soft);stroke-width:1}
.pill{border:1px solid var(--soft);border-radius:9px;padding:0 6px;font-size:11px}
.down{color:var(--soft)}
.heat{table-layout:fixed;font-size:11px;border-spacing:0}
.heat th,.heat td{padding:0;text-align:center;height:20px}
.heat thead th{border:0;vertical-align:middle;height:17px}
.heat thead th[scope=colgroup]{border:solid var(--paper);border-width:0 3px;
background:linear-gradient(var(--rule),var(--rule)) bottom/100% 1px no-repeat}
.heat thead th[rowspan]{vertical-align:bottom}
.heat thead tr:last-child th{border-bottom:1px solid var(--rule)}
.heat tbody th{color:var(--soft)}
.heat tbody+tbody>tr:first-child>*{border-top:2px solid var(--plain)}
.p,.ramp i{background:rgb(var(--blue)/var(--p))}
.heat .p{border-left:1px solid var(--paper)}
.heat .p.high,.ramp i.high{color:var(--on)}
.chosen{box-shadow:inset 0 0 0 2px var(--ink);font-weight:700}
.unused{opacity:.4}.unused .high{color:var(--ink)}
.gates td{font-size:11px;color:var(--soft);text-align:center;padding:2px 6px;min-width:96px}
.gates svg{height:40px}.gates thead th{text-align:center}
.gates tbody+tbody>tr:first-child>*{border-top:1px solid var(--rule)}
.gates td.open{color:var(--ink)}
.ramp{display:inline-flex}
.ramp i{font-style:normal;font-size:11px;width:34px;text-align:center;color:var(--ink)}
.swatch.mark{width:16px;height:14px;box-shadow:inset 0 0 0 2px var(--ink);margin-left:10px}
.swatch.fade{width:auto;height:auto;opacity:.45;font-style:normal;margin-left:10px}
.depths{max-width:300px}
.square{max-width:480px}.narrow{max-width:640px}
.bars{max-width:640px}.bars .wide{width:56%}.bars th{white-space:nowrap}
.track{display:block;background:var(--card);box-shadow:inset 0 0 0 1px var(--rule);
border-radius:2px}
.hidden,.quiet thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.quiet caption{font-weight:600;color:var(--ink)}
.quiet tbody th{width:38%}
.stack{display:flex;height:16px;max-width:640px;border-radius:3px;overflow:hidden;margin:6px 0}
.stack .bar{height:16px;border-radius:0}
@media (max-width:640px){header{padding-top:24px}h1{font-size:26px}
.network .size,.network td.number:last-child,.network thead th.number:last-child{display:none}
.network td.shape,.network th.shape{width:88px;padding:0 4px}.network .shape svg{width:80px}
svg text{font-size:13px}
.network td,.network th{padding:0 4px;font-size:12px}.network .wide{width:16%}
.heat{font-size:9px}}
@media print{*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
nav{display:none}main,header{padding:0;max-width:none}body{font-size:12px}h1{font-size:24px}
h2{font-size:17px}h2,caption{break-after:avoid}figure,tr,.heat{break-inside:avoid}
section{padding:14px 0}tfoot{display:table-row-group}
.scroll{overflow:visible}dl.tiles{grid-template-columns:repeat(6,1fr);gap:6px}
.tiles div{padding:8px}.tiles dd{font-size:16px}table,figcaption,caption,.scale{font-size:11px}
.grid{grid-template-columns:1fr 1fr;gap:8px 20px}.heat{font-size:8px}.heat th,.heat td{height:15px}
.network td,.network th{height:26px}.network .shape svg{height:27px}th,td{padding:2px 6px}}
"""
