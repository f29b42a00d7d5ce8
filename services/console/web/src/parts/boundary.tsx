import { Component, type ReactNode } from "react";
import { Failed } from "./basic";

/** A screen that fails leaves the others usable, and says what failed. */
export class Boundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (this.state.error === null) return this.props.children;
    return (
      <main id="screen" className="screen">
        <Failed error={this.state.error} retry={() => this.setState({ error: null })} />
      </main>
    );
  }
}
