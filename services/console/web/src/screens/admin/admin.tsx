import { Screen, Segments } from "../../parts/basic";
import { useParam } from "../../shell/router";
import { Audit } from "./audit";
import { Keys } from "./keys";
import { People } from "./people";

const TABS = [
  ["people", "People"],
  ["keys", "API keys"],
  ["audit", "Audit"],
] as const;

export function Admin() {
  const [tab, setTab] = useParam("view", "people");
  return (
    <Screen>
      <Segments name="View" value={tab} options={TABS as unknown as [string, string][]} change={setTab} />
      {tab === "people" && <People />}
      {tab === "keys" && <Keys />}
      {tab === "audit" && <Audit />}
    </Screen>
  );
}
