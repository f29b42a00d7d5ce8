/** Series over time, drawn by uPlot. The colours are the tokens' of the theme on screen; the label says in words what the curve shows. */

import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useShownTheme } from "../shell/theme";
import { number } from "./format";

export interface Curve {
  name: string;
  color: string;
  values: (number | null)[];
  dash?: boolean;
  fill?: boolean;
}

const token = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

interface Props {
  title: string;
  unit: string;
  /** the window in words: "last 15 min" */
  over: string;
  /** seconds since 1970 */
  t: number[];
  curves: Curve[];
  height?: number;
}

function summary({ title, unit, over, curves }: Props): string {
  const parts = curves.map(({ name, values }) => {
    const known = values.filter((value) => value !== null);
    if (known.length === 0) return `${name}: none`;
    const last = known[known.length - 1] ?? 0;
    return `${name}: now ${number(last, 3)}, from ${number(Math.min(...known), 3)} to ${number(Math.max(...known), 3)}`;
  });
  return `${title}, ${unit}, ${over}. ${parts.join("; ")}.`;
}

export function Chart(props: Props) {
  const { t, curves, height = 196 } = props;
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useShownTheme();
  const names = curves.map((curve) => curve.name).join();
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const { curves: drawn, unit } = latest.current;
    const axis: uPlot.Axis = {
      stroke: token("--ink-3"),
      font: `11px ${token("--font")}`,
      grid: { stroke: token("--line-soft"), width: 1 },
      ticks: { show: false },
    };
    const made = new uPlot(
      {
        width: element.clientWidth || 400,
        height,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 } },
        scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.08 : 1] } },
        axes: [
          { ...axis, size: 24, values: (_plot, ticks) => labels(ticks), space: 72 },
          { ...axis, size: 52, values: (_plot, ticks) => ticks.map((tick) => number(tick, 3)), space: 36 },
        ],
        series: [
          {},
          ...drawn.map((curve) => ({
            label: curve.name,
            stroke: token(curve.color),
            width: 1.5,
            dash: curve.dash ? [4, 3] : undefined,
            fill: curve.fill ? `${token(curve.color)}1f` : undefined,
            points: { show: false },
          })),
        ],
        hooks: { setCursor: [(made) => tell(made, element, unit)] },
      },
      [latest.current.t, ...drawn.map((curve) => curve.values)],
      element,
    );
    plot.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    sized.observe(element);
    return () => {
      sized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [theme, names, height]);

  useEffect(() => {
    plot.current?.setData([t, ...curves.map((curve) => curve.values)]);
  }, [t, curves]);

  return (
    <figure className="plot">
      <div className="legend" aria-hidden="true">
        {curves.map((curve) => (
          <span key={curve.name}>
            <Stroke color={curve.color} dash={curve.dash} />
            {curve.name}
          </span>
        ))}
        <output className="soft" />
      </div>
      <div ref={place} className="chart" role="img" aria-label={summary(props)} />
    </figure>
  );
}

function Stroke({ color, dash }: { color: string; dash?: boolean }) {
  return <i className={dash ? "dash" : ""} style={{ color: `var(${color})` }} />;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

function labels(ticks: number[]): string[] {
  const long = ticks.length > 1 && (ticks[1] ?? 0) - (ticks[0] ?? 0) >= 86_400;
  const short = ticks.length > 1 && (ticks[1] ?? 0) - (ticks[0] ?? 0) < 60;
  return ticks.map((tick) => (long ? day : short ? exact : clock).format(tick * 1000));
}

/** The values under the pointer, in the legend's line. */
function tell(plot: uPlot, element: HTMLElement, unit: string): void {
  const out = element.parentElement?.querySelector("output");
  if (!out) return;
  const at = plot.cursor.idx;
  const moment = at === null || at === undefined ? undefined : plot.data[0][at];
  if (at === null || at === undefined || moment === undefined) {
    out.textContent = "";
    return;
  }
  const values = plot.data.slice(1).map((column) => {
    const value = column[at];
    return value === null || value === undefined ? "–" : number(value, 4);
  });
  out.textContent = `${exact.format(moment * 1000)}   ${values.join(" / ")} ${unit}`;
}
