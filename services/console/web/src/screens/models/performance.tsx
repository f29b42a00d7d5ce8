import { useQuery } from "@tanstack/react-query";
import { get, Problem } from "../../api/client";
import { Answer, Empty, Panel, Screen, Segments } from "../../parts/basic";
import { Facts } from "../../parts/facts";
import { useParam } from "../../shell/router";

const SINCE = [
  ["7d", "7 d"],
  ["42d", "42 d"],
  ["90d", "90 d"],
] as const;

/** What labels that have come in say of past decisions; payments without a label are shown as open, never as genuine. */
export function Performance() {
  const [since, setSince] = useParam("since", "42d");
  const found = useQuery({ queryKey: ["performance", since], queryFn: ({ signal }) => get<Record<string, unknown>>("/performance", { since }, signal) });
  const absent = found.error instanceof Problem && found.error.status === 404;
  return (
    <Screen>
      <Segments name="Window" value={since} options={SINCE as unknown as [string, string][]} change={setSince} />
      <Panel title="Matured performance">
        {absent ? (
          <Empty title="This console measures no performance">They come from outcomes: decisions joined with labels.</Empty>
        ) : (
          <Answer of={found} what="performance">
            {(data) => <Facts value={data} />}
          </Answer>
        )}
      </Panel>
    </Screen>
  );
}
