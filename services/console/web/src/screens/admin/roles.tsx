import { useQuery } from "@tanstack/react-query";
import { get } from "../../api/client";
import { Panel } from "../../parts/basic";
import { Listed } from "../../parts/table";

interface Role {
  role: string;
  may: string[];
}

const useAnswer = () => useQuery({ queryKey: ["roles"], queryFn: ({ signal }) => get<Role[]>("/roles", {}, signal), staleTime: Number.POSITIVE_INFINITY });

/** The names of all roles. */
export const useRoles = (): string[] => useAnswer().data?.map(({ role }) => role) ?? [];

export function Roles() {
  return (
    <Panel title="What each role may do" aside={<span className="quiet small">nobody approves what they proposed, whatever their role</span>} bare>
      <Listed
        of={useAnswer()}
        what="the roles"
        rows={(roles) => roles}
        empty={null}
        keyOf={({ role }) => role}
        columns={[
          { name: "Role", heads: true, cell: ({ role }) => role },
          { name: "May", look: "soft", cell: ({ may }) => may.join(", ") },
        ]}
      />
    </Panel>
  );
}
