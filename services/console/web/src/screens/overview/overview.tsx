import { Answer, Screen } from "../../parts/basic";
import { useOverview } from "../../shell/shell";
import { Curves } from "./curves";
import { Figures, Problems } from "./figures";
import { Parts } from "./parts";

export function OverviewScreen() {
  const overview = useOverview();
  return (
    <Screen>
      <Answer of={overview} what="the overview">
        {(data) => (
          <>
            <Problems data={data} />
            <Figures data={data} />
          </>
        )}
      </Answer>
      <Curves />
      {overview.data && <Parts data={overview.data} />}
    </Screen>
  );
}
