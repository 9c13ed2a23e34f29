/** What the list says where it has nothing to list. */
import { Button } from "../parts/button";
import { Empty } from "../parts/empty";
import { SCREENS } from "../screens";

export function NoJobs() {
  const trains = SCREENS.some((each) => each.path.startsWith("/train"));
  return (
    <div class="card">
      <Empty title="No jobs yet">
        <p>A job is a spec: a model, pairs of answers, a loss.</p>
        {trains ? (
          <p class="empty-action">
            <a class="button primary" href="/train">
              Make the first one
            </a>
          </p>
        ) : (
          <code>prefd submit spec.yaml</code>
        )}
      </Empty>
    </div>
  );
}

export function NoneFits({ onClear }: { onClear: () => void }) {
  return (
    <div class="card">
      <Empty title="No job fits">
        <p class="empty-action">
          <Button onClick={onClear}>Show all</Button>
        </p>
      </Empty>
    </div>
  );
}
