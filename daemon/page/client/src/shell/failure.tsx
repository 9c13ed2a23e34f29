/** Keeps a fault of one screen to that screen: what went wrong is told in its place, and the bars still lead elsewhere. */
import { Component, type ComponentChildren } from "preact";
import { Button } from "../parts/button";
import { Empty } from "../parts/empty";

interface Properties {
  children: ComponentChildren;
}

export class FailureBound extends Component<Properties, { trouble: string | null }> {
  override state = { trouble: null as string | null };

  static override getDerivedStateFromError(error: unknown): { trouble: string } {
    return { trouble: error instanceof Error ? error.message : String(error) };
  }

  override componentDidCatch(error: unknown): void {
    console.error(error);
  }

  render() {
    if (this.state.trouble === null) return this.props.children;
    return (
      <div class="card">
        <Empty title="This screen has a fault">
          <p>{this.state.trouble}</p>
          <p class="empty-action">
            <Button onClick={() => location.reload()}>Load it again</Button>
          </p>
        </Empty>
      </div>
    );
  }
}
