/** One reference: what is stored of it, the jobs that used it, and what makes it who it is. */
import type { StoredReferenceDocument, UseOfReference } from "../api/shapes";
import { Bar } from "../parts/bar";
import { formatCount, formatSize, pluralize } from "../text/numbers";
import { formatDuration } from "../text/times";
import { shortenModel } from "../text/losses";
import { addUp } from "./sums";

const SHORT = 12;

export function ReferenceCard({ reference, open }: { reference: StoredReferenceDocument; open: boolean }) {
  const { fingerprint, model, entries, tokens, bytes, segments, damaged, uses } = reference;
  const { needed, answered } = addUp([reference]);
  return (
    <section class="card block reference" aria-label={`Reference ${fingerprint.slice(0, SHORT)}`}>
      <header>
        <h2>{model ? shortenModel(model) : "a model without a name"}</h2>
        <a class="mono soft" href={`/cache/${fingerprint.slice(0, SHORT)}`}>
          {fingerprint.slice(0, SHORT)}
        </a>
        <span class="soft number">
          {pluralize(entries, "answer")} · {pluralize(tokens, "token")} · {formatSize(bytes)} in {pluralize(segments, "segment")}
        </span>
      </header>
      {damaged.length > 0 && <p class="notice error">{pluralize(damaged.length, "segment")} cannot be read: what it held is scored again when a job needs it.</p>}
      {needed > 0 && (
        <p class="soft">
          <b class="number">{formatCount(answered)}</b> of {formatCount(needed)} answers that jobs needed were here already
        </p>
      )}
      {uses.length > 0 ? <Uses uses={uses} /> : <p class="soft">No job of this home has used it yet, as far as jobs have finished with their scoring.</p>}
      <details open={open}>
        <summary>who it is</summary>
        <dl class="pairs-of-facts">
          <dt>fingerprint</dt>
          <dd class="mono">{fingerprint}</dd>
          {[...Object.entries(reference.identity), ...Object.entries(reference.provenance)].map(([name, value]) => (
            <Fact key={name} name={name} value={value} />
          ))}
        </dl>
      </details>
    </section>
  );
}

const SHOWN = 8;

function Uses({ uses }: { uses: readonly UseOfReference[] }) {
  const newest = uses.slice(-SHOWN).reverse();
  return (
    <>
      <table class="table uses">
        <caption class="hidden-label">Jobs that used it, newest first</caption>
        <thead>
          <tr>
            <th scope="col">job</th>
            <th scope="col">already here</th>
            <th scope="col" class="right">
              scored
            </th>
            <th scope="col" class="right">
              took
            </th>
          </tr>
        </thead>
        <tbody>
          {newest.map((use) => (
            <tr key={use.job}>
              <td>
                <a href={`/jobs/${use.job}/charts`}>
                  <span class="soft number">#{use.job}</span> <b>{use.name}</b>
                </a>
              </td>
              <td>
                <Bar share={use.needed ? use.cached / use.needed : 1} tone="green" label={`${use.cached} of ${use.needed} were here`} />
                <span class="soft number">
                  {formatCount(use.cached)} of {formatCount(use.needed)}
                </span>
              </td>
              <td class="right number">{formatCount(use.scored)}</td>
              <td class="right number">{use.seconds === null ? "–" : formatDuration(use.seconds)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {uses.length > SHOWN && <p class="soft">and {pluralize(uses.length - SHOWN, "older job")}</p>}
    </>
  );
}

function Fact({ name, value }: { name: string; value: unknown }) {
  return (
    <>
      <dt>{name}</dt>
      <dd class="mono">{typeof value === "string" ? value : JSON.stringify(value)}</dd>
    </>
  );
}
