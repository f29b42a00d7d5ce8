import { Dialog } from "../parts/dialog";
import { Button } from "../parts/basic";
import { ACTIONS, keyOf, setKeys, useKeys } from "./keyboard";

/** All keys; each can be changed, and all single keys can be switched off. */
export function KeysDialog({ open, close }: { open: boolean; close: () => void }) {
  const keys = useKeys();
  const used = ACTIONS.map((action) => keyOf(keys, action.id));
  const twice = used.find((key, at) => used.indexOf(key) !== at);
  return (
    <Dialog title="Keys" open={open} close={close}>
      <div className="stack tight">
        <p className="soft">Ctrl K (or Cmd K) opens the commands everywhere. Single keys act on the queue and on a decision, outside of fields.</p>
        <label className="row">
          <input type="checkbox" checked={keys.on} onChange={(event) => setKeys({ ...keys, on: event.target.checked })} />
          Single keys are on
        </label>
        <table>
          <thead>
            <tr>
              <th>Action</th>
              <th>Key</th>
            </tr>
          </thead>
          <tbody>
            {ACTIONS.map((action) => (
              <tr key={action.id}>
                <td>{action.text}</td>
                <td>
                  <input
                    className="input mono"
                    aria-label={`Key for: ${action.text}`}
                    size={7}
                    value={keyOf(keys, action.id)}
                    disabled={!keys.on}
                    onKeyDown={(event) => {
                      if (event.ctrlKey || event.metaKey || event.altKey || ["Tab", "Escape", "Shift", "Backspace"].includes(event.key)) return;
                      event.preventDefault();
                      setKeys({ ...keys, keys: { ...keys.keys, [action.id]: event.key } });
                    }}
                    onChange={() => undefined}
                  />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        {twice && (
          <p className="message warn" role="alert">
            “{twice}” is used twice: only the first action gets it.
          </p>
        )}
        <div className="actions">
          <Button onClick={() => setKeys({ on: true, keys: {} })}>As delivered</Button>
          <Button look="primary" onClick={close}>
            Done
          </Button>
        </div>
      </div>
    </Dialog>
  );
}
