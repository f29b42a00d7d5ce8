/** Every screen: its address, its name, what may be looked for under it, and in which group it stands. */

export interface Place {
  path: string;
  name: string;
  also?: string;
}

export const GROUPS: { name: string; places: Place[] }[] = [
  {
    name: "Payments",
    places: [
      { path: "/", name: "Overview", also: "live traffic latency" },
      { path: "/queue", name: "Queue", also: "reviews label next" },
      { path: "/decisions", name: "Decisions", also: "search find payment" },
      { path: "/cases", name: "Cases", also: "investigate assign escalate notes" },
      { path: "/links", name: "Links", also: "network ring shared device card" },
      { path: "/rules", name: "Rules", also: "policy thresholds test propose" },
      { path: "/lists", name: "Lists", also: "block allow watch csv expiry" },
    ],
  },
  {
    name: "Models",
    places: [
      { path: "/models", name: "Models", also: "registry approve reject compare" },
      { path: "/rollout", name: "Rollout", also: "shadow canary arms abort" },
      { path: "/drift", name: "Drift", also: "psi retraining" },
      { path: "/performance", name: "Performance", also: "matured labels precision" },
    ],
  },
  {
    name: "Operation",
    places: [
      { path: "/oncall", name: "On call", also: "pages runbooks processes status silence" },
      { path: "/dead-letters", name: "Dead letters", also: "refused replay" },
      { path: "/admin", name: "Access and audit", also: "people keys roles verify" },
    ],
  },
];

export const PLACES: Place[] = GROUPS.flatMap((group) => group.places);
