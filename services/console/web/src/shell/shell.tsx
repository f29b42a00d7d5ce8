import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useCallback, useEffect, useRef, useState } from "react";
import { get, post, remove } from "../api/client";
import { connect, disconnect, useConnected, useLive } from "../api/live";
import { leave, useSession } from "../api/session";
import type { Alert, Behind, Overview, QueueEvent, Session } from "../api/types";
import { Button, Time } from "../parts/basic";
import { ReasonDialog } from "../parts/dialog";
import { span, whole } from "../parts/format";
import { Toasts } from "../parts/toasts";
import { KeysDialog } from "./keys_dialog";
import { useShortcuts } from "./keyboard";
import { PasswordDialog } from "./password_dialog";
import { Palette } from "./palette";
import { GROUPS, PLACES } from "./places";
import { go, Link, usePath } from "./router";
import { setTheme, useShownTheme } from "./theme";

/** The place whose address begins the path. */
const placeOf = (path: string) => PLACES.findLast((place) => (place.path === "/" ? path === "/" : path === place.path || path.startsWith(`${place.path}/`)));

const BEHIND_S = 5;

export function Shell({ children }: { children: ReactNode }) {
  const session = useSession();
  const path = usePath();
  const place = placeOf(path);
  const [palette, setPalette] = useState(false);
  const [keys, setKeys] = useState(false);
  const [menu, setMenu] = useState(false);
  const queries = useQueryClient();

  useEffect(() => {
    connect();
    return disconnect;
  }, []);
  const first = useRef(true);
  useEffect(() => {
    setMenu(false);
    // who does not see that the screen has changed hears it, and goes on from its beginning
    const screen = document.getElementById("screen");
    if (!first.current && screen !== null) {
      screen.tabIndex = -1;
      screen.focus({ preventScroll: true });
    }
    first.current = false;
  }, [path]);
  useEffect(() => {
    document.title = `${place?.name ?? "Not found"} · Tollgate`;
  }, [place]);
  useLive(
    "signed_out",
    useCallback(() => void queries.invalidateQueries({ queryKey: ["session"] }), [queries]),
  );
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setPalette(true);
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  useShortcuts({ help: () => setKeys(true) });

  return (
    <div className="shell">
      <a className="skip" href="#screen">
        To the content
      </a>
      <div className={`rail ${menu ? "open" : ""}`}>
        <Link href="/" className="brand">
          <img src="/mark.svg" alt="" />
          Tollgate
        </Link>
        <nav aria-label="Screens">
          {GROUPS.map((group) => (
            <div key={group.name}>
              <h2>{group.name}</h2>
              <ul>
                {group.places.map((one) => (
                  <li key={one.path}>
                    <Link href={one.path} aria-current={one === place ? "page" : undefined}>
                      {one.name}
                      {one.path === "/queue" && <QueueCount />}
                      {one.path === "/oncall" && <PageCount />}
                    </Link>
                  </li>
                ))}
              </ul>
            </div>
          ))}
        </nav>
        <div className="foot">
          <Person />
        </div>
      </div>
      <div className="main">
        <header className="bar">
          <Button look="icon plain" className="button icon plain menu" aria-label="Menu" aria-expanded={menu} onClick={() => setMenu(!menu)}>
            ☰
          </Button>
          <h1 className="grow cut">{place?.name ?? "Not found"}</h1>
          <Freshness />
          <Button look="plain" onClick={() => setPalette(true)}>
            Go to <kbd className="hint">Ctrl K</kbd>
          </Button>
          <Button look="plain" className="button plain hint" onClick={() => setKeys(true)}>
            Keys
          </Button>
        </header>
        {session.glass_until && (
          <p className="notice warn" role="status">
            Until <Time at={session.glass_until} /> you may do what an emergency needs, beyond your role. It has paged, and what you do stands on the audit.
          </p>
        )}
        {!session.can_sign && session.role !== "analyst" && (
          <p className="notice">
            The key of {session.person} is not on this machine: what needs a signature is done at the command line, with <code>--as {session.person}</code>.
          </p>
        )}
        {children}
      </div>
      <Palette open={palette} close={() => setPalette(false)} />
      <KeysDialog open={keys} close={() => setKeys(false)} />
      <Toasts />
    </div>
  );
}

export const useOverview = () =>
  useQuery({ queryKey: ["overview"], queryFn: ({ signal }) => get<Overview>("/overview", {}, signal), refetchInterval: 10_000 });

function QueueCount() {
  const { data } = useOverview();
  const [open, setOpen] = useState<number | null>(null);
  useLive("queue", useCallback((event: QueueEvent) => setOpen(event.open), []));
  const shown = open ?? data?.queue.open;
  return shown ? <span className="count">{whole(shown)}</span> : null;
}

function PageCount() {
  const { data } = useOverview();
  const [alerts, setAlerts] = useState<Alert[] | null>(null);
  useLive("alerts", useCallback((event: Alert[]) => setAlerts(event), []));
  const pages = (alerts ?? data?.alerts ?? []).filter((alert) => alert.severity === "page" && !alert.silenced).length;
  return pages ? <span className="count alarm">{pages === 1 ? "1 page" : `${pages} pages`}</span> : null;
}

/** Whether what is on screen is live, and how far the console is behind the decisions. */
function Freshness() {
  const session = useSession();
  const connected = useConnected();
  const [behind, setBehind] = useState(session.console);
  useLive("behind", useCallback((event: Behind) => setBehind(event), []));
  if (!connected) return <span className="tag warn">not live</span>;
  if (behind.problem) {
    return (
      <span className="tag warn" title={behind.problem}>
        reads no decisions
      </span>
    );
  }
  if (behind.behind_s >= BEHIND_S) return <span className="tag warn">{span(behind.behind_s)} behind</span>;
  return <span className="quiet small hint">live</span>;
}

function Person() {
  const session = useSession();
  const queries = useQueryClient();
  const theme = useShownTheme();
  const [password, setPassword] = useState(false);
  const [glass, setGlass] = useState(false);
  // who may all of it already, or is limited to some tenants, has nothing to break
  const gains = session.tenants.length === 0 && (!session.permissions.includes("operate") || !session.permissions.includes("label"));
  const signOut = async () => {
    disconnect();
    await remove("/session").catch(() => null);
    go("/");
    leave(queries);
  };
  return (
    <>
      <div className="cut who" title={session.person}>
        <span className="strong">{session.person}</span> <span className="quiet">{session.role}</span>
      </div>
      <div className="row small-buttons">
        <Button look="plain" onClick={() => setTheme(theme === "dark" ? "light" : "dark")}>
          {theme === "dark" ? "Light" : "Dark"}
        </Button>
        <Button look="plain" onClick={() => setPassword(true)}>
          Password
        </Button>
        <Button look="plain" onClick={() => void signOut()}>
          Sign out
        </Button>
        {gains && (
          <Button look="plain" onClick={() => setGlass(true)}>
            Emergency …
          </Button>
        )}
      </div>
      {glass && (
        <ReasonDialog
          title="Take the rights of an emergency"
          verb="Take them for 30 min"
          danger
          close={() => setGlass(false)}
          act={async (why) => queries.setQueryData(["session"], await post<Session>("/session/break-glass", { why, minutes: 30 }))}
        >
          <p className="soft">Silences, dead letters and labels, beyond your role. Whoever is on call is paged at once. What needs a signature stays as it is.</p>
        </ReasonDialog>
      )}
      {password && <PasswordDialog close={() => setPassword(false)} />}
    </>
  );
}
