/** Entities on two rings around the one that was asked for. Places follow from the data alone: nothing moves by itself. */

import { type ReactNode, useMemo } from "react";
import { KIND_NAMES, type Kind, keyOf } from "./entity";
import { besideOf, type EntityLink, endsOf, type LinkedNode } from "./linked";

const SIZE = 640;
const RINGS = [0, 140, 272] as const;
/** names are written beside so many at most: beyond, they would cover each other */
const MAX_NAMED = 40;

interface Placed {
  node: LinkedNode;
  key: string;
  angle: number;
  x: number;
  y: number;
}

/** Each ring in equal parts; on the outer one everything stands near what it is linked with. */
function placed(nodes: LinkedNode[], links: EntityLink[]): Map<string, Placed> {
  const beside = besideOf(links);
  const out = new Map<string, Placed>();
  for (const step of [0, 1, 2] as const) {
    const ring = nodes.filter((node) => node.step === step).map((node) => ({ node, key: keyOf(node), angle: 0 }));
    for (const one of ring) {
      const inner = (beside.get(one.key) ?? []).map((key) => out.get(key)).filter((other) => other !== undefined && other.node.step > 0);
      const [x, y] = [inner.reduce((sum, other) => sum + (other?.x ?? 0), 0), inner.reduce((sum, other) => sum + (other?.y ?? 0), 0)];
      one.angle = inner.length > 0 ? Math.atan2(y, x) : 0;
    }
    ring.sort((a, b) => (step === 2 ? a.angle - b.angle : 0) || a.key.localeCompare(b.key));
    // the outer ring is turned so that the first stands where it would like to
    const turn = step === 2 ? (ring[0]?.angle ?? 0) : -Math.PI / 2;
    ring.forEach((one, at) => {
      const angle = turn + (2 * Math.PI * at) / ring.length;
      out.set(one.key, { ...one, angle, x: RINGS[step] * Math.cos(angle), y: RINGS[step] * Math.sin(angle) });
    });
  }
  return out;
}

const SHAPES: Record<Kind, (size: number) => ReactNode> = {
  card: (s) => <rect x={-1.3 * s} y={-0.85 * s} width={2.6 * s} height={1.7 * s} rx="2" />,
  device: (s) => <rect x={-s} y={-s} width={2 * s} height={2 * s} />,
  ip: (s) => <path d={`M0 ${-1.2 * s}L${1.15 * s} ${0.9 * s}H${-1.15 * s}Z`} />,
  merchant: (s) => <path d={`M0 ${-1.3 * s}L${1.3 * s} 0L0 ${1.3 * s}L${-1.3 * s} 0Z`} />,
  customer: (s) => <circle r={1.1 * s} />,
};

interface Props {
  nodes: LinkedNode[];
  links: EntityLink[];
  start: string;
  chosen: string | null;
  choose: (key: string | null) => void;
  picked: ReadonlySet<string>;
}

export function Picture({ nodes, links, start, chosen, choose, picked }: Props) {
  const places = useMemo(() => placed(nodes, links), [nodes, links]);
  const near = new Set(chosen === null ? [] : links.filter((link) => endsOf(link).includes(chosen)).flatMap(endsOf));
  const kinds = [...new Set(nodes.map((node) => node.kind))];
  const frauds = nodes.filter((node) => node.fraud > 0).length;
  /** so large that neighbours on a ring do not touch */
  const room = (step: 1 | 2) => (2 * Math.PI * RINGS[step]) / Math.max(1, nodes.filter((node) => node.step === step).length) / 3;
  const named = (place: Placed) => place.key === start || place.key === chosen || near.has(place.key) || nodes.length <= MAX_NAMED;
  return (
    <figure className="links">
      <svg viewBox={`${-SIZE / 2 - 40} ${-SIZE / 2} ${SIZE + 80} ${SIZE}`} role="img" aria-label={`${nodes.length - 1} entities linked with ${start.replace("/", " ")}, ${frauds} of them with known frauds; the table beside has the same`}>
        {RINGS.slice(1).map((radius) => (
          <circle key={radius} r={radius} className="ring" />
        ))}
        {links.map((link) => {
          const [from, to] = endsOf(link).map((key) => places.get(key));
          if (!from || !to) return null;
          const apart = chosen !== null && chosen !== from.key && chosen !== to.key;
          return (
            <line
              key={endsOf(link).join(" ")}
              x1={from.x}
              y1={from.y}
              x2={to.x}
              y2={to.y}
              className={link.fraud > 0 ? "fraud" : ""}
              strokeWidth={Math.min(5, 1 + Math.log2(link.payments))}
              opacity={apart ? 0.12 : 0.3 + 0.7 * link.rarity}
            />
          );
        })}
        {[...places.values()].map((place) => {
          const { node, key, x, y } = place;
          const size = key === start ? 9 : node.step === 1 ? Math.min(6.5, room(1)) : Math.min(5, room(2));
          const left = x < -1;
          return (
            <g key={key} transform={`translate(${x} ${y})`} className={["node", node.fraud > 0 ? "fraud" : "", key === start ? "start" : "", picked.has(key) || key === chosen ? "chosen" : ""].join(" ")} onMouseEnter={() => choose(key)} onMouseLeave={() => choose(null)}>
              <title>{`${KIND_NAMES[node.kind]} ${node.id}`}</title>
              {SHAPES[node.kind](size)}
              {named(place) && (
                <text x={key === start ? 0 : left ? -1.6 * size - 2 : 1.6 * size + 2} y={key === start ? 24 : 4} textAnchor={key === start ? "middle" : left ? "end" : "start"}>
                  {node.id.length > 18 ? `${node.id.slice(0, 17)}…` : node.id}
                </text>
              )}
            </g>
          );
        })}
      </svg>
      <figcaption className="legend">
        {kinds.map((kind) => (
          <span key={kind}>
            <svg viewBox="-10 -10 20 20" width="14" height="14" aria-hidden="true" className="node">
              {SHAPES[kind](6.5)}
            </svg>
            {KIND_NAMES[kind]}
          </span>
        ))}
        <span>
          <svg viewBox="-10 -10 20 20" width="14" height="14" aria-hidden="true" className="node fraud">
            {SHAPES.customer(6.5)}
          </svg>
          known fraud
        </span>
        <span>thick: many payments; dark: rare</span>
      </figcaption>
    </figure>
  );
}
