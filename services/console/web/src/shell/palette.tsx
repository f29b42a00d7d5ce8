import { useMemo, useState } from "react";
import { Autocomplete, Input, ListBox, ListBoxItem, SearchField, useFilter } from "react-aria-components";
import { Dialog } from "../parts/dialog";
import { PLACES } from "./places";
import { go } from "./router";
import { setTheme } from "./theme";

interface Command {
  id: string;
  text: string;
  aside: string;
  act: () => void;
}

/** Ctrl+K: go to a screen, open a payment by its identifier, change the theme. */
export function Palette({ open, close }: { open: boolean; close: () => void }) {
  const [text, setText] = useState("");
  const { contains } = useFilter({ sensitivity: "base" });
  const commands = useMemo<Command[]>(() => {
    const typed = text.trim();
    const fixed: Command[] = [
      ...PLACES.map((place) => ({ id: place.path, text: place.name, aside: place.also ?? "", act: () => go(place.path) })),
      { id: "light", text: "Light theme", aside: "look", act: () => setTheme("light") },
      { id: "dark", text: "Dark theme", aside: "look", act: () => setTheme("dark") },
      { id: "system", text: "Theme of the system", aside: "look", act: () => setTheme("system") },
    ].filter((command) => !typed || contains(`${command.text} ${command.aside}`, typed));
    if (!typed) return fixed;
    return [
      ...fixed,
      { id: "open", text: `Open payment ${typed}`, aside: "by transaction id", act: () => go(`/decisions/${encodeURIComponent(typed)}`) },
      { id: "card", text: `Decisions of card ${typed}`, aside: "by card", act: () => go(`/decisions?card=${encodeURIComponent(typed)}`) },
    ];
  }, [text, contains]);
  const run = (id: string) => {
    close();
    setText("");
    commands.find((command) => command.id === id)?.act();
  };
  return (
    <Dialog title="Commands" className="palette" open={open} close={close}>
      <Autocomplete inputValue={text} onInputChange={setText}>
        <SearchField aria-label="Go to a screen, or paste a transaction id" autoFocus>
          <Input className="input" placeholder="Go to a screen, or paste a transaction id" autoComplete="off" spellCheck={false} />
        </SearchField>
        <ListBox aria-label="Commands" items={commands} onAction={(key) => run(String(key))} selectionMode="none">
          {(command) => (
            <ListBoxItem id={command.id} textValue={command.text}>
              <span className="cut">{command.text}</span>
              <span className="quiet cut">{command.aside}</span>
            </ListBoxItem>
          )}
        </ListBox>
      </Autocomplete>
    </Dialog>
  );
}
