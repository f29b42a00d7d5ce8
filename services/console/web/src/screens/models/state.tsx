import { useQuery } from "@tanstack/react-query";
import { get } from "../../api/client";
import type { ModelRow } from "../../api/types";
import { Tag } from "../../parts/basic";

export const WAITS = "awaiting approval";

export const useModels = () => useQuery({ queryKey: ["models"], queryFn: ({ signal }) => get<ModelRow[]>("/models", {}, signal), refetchInterval: 15_000 });

export function State({ row }: { row: ModelRow }) {
  if (row.state === "live") return row.reviewed ? <Tag tone="good">live</Tag> : <Tag tone="warn">live, unreviewed</Tag>;
  return <Tag tone={row.state === WAITS ? "accent" : row.state === "rejected" ? "bad" : ""}>{row.state}</Tag>;
}

export const figure = (value: number | null | undefined): string => (value === null || value === undefined ? "–" : value.toFixed(3));
