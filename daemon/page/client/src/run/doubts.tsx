/** Which of a job's pairs to doubt, by their rows and what the cache has of the reference's scores: `prefd xray` for the page. */
import { useAddress } from "../address";
import type { DoubtedPairs, FoundPair, XRay } from "../api/shapes";
import { Button } from "../parts/button";
import { Trouble } from "../parts/empty";
import { shortenPrompt, shortenText } from "../parts/tokens_text";
import { useAnswer } from "../stores/answer";
import { formatCount, formatNumber, formatShare, pluralize } from "../text/numbers";
import { Fact } from "./fact";

/** For each kind: what one pair of it is, what several are, and what both go on with. */
const TITLES: Readonly<Record<DoubtedPairs["kind"], readonly [string, string, string]>> = {
  suspects: ["pair is unlike the rest", "pairs are unlike the rest", ": those of other prompts would turn the label round"],
  "against-reference": ["pair is", "pairs are", " strongly against the reference, among those of such a difference in length"],
  contradictions: ["pair contradicts another", "pairs contradict each other", ": the same prompt and answers, the sides swapped"],
  duplicates: ["pair repeats an earlier one", "pairs repeat an earlier one", ""],
  alike: ["pair has", "pairs have", " answers that hardly differ"],
  cut: ["pair has", "pairs have", " an answer that was cut"],
};

export function Doubts({ job }: { job: number }) {
  const { query, change } = useAddress();
  const asked = query["doubts"] === "1";
  const { value: xray, trouble } = useAnswer<XRay>(asked ? `/v1/jobs/${job}/xray` : "");
  return (
    <section class="card facts doubts">
      <h2>Pairs to doubt</h2>
      {!asked && (
        <>
          <p class="soft">Labels unlike the rest, repeats and contradictions are found from the rows and the reference's scores, in seconds. Nothing is scored or trained.</p>
          <p class="fact-actions">
            <Button onClick={() => change({ doubts: 1 })}>Examine the pairs</Button>
          </p>
        </>
      )}
      {asked && !xray && !trouble && (
        <p class="soft" role="status">
          The pairs are being examined.
        </p>
      )}
      <Trouble text={trouble} />
      {xray && <Found xray={xray} />}
    </section>
  );
}

function Found({ xray }: { xray: XRay }) {
  const { lengths, reference_view: view, predictability } = xray;
  return (
    <>
      <dl class="pairs-of-facts">
        <Fact name="length">
          the chosen answer is longer in {formatCount(lengths.longer)} of {pluralize(xray.pairs, "pair")}, shorter in {formatCount(lengths.shorter)}; always taking the longer one is right in {formatShare(lengths.accuracy)}
        </Fact>
        {view && (
          <Fact name="reference">
            finds the chosen answer likelier in {formatShare(view.accuracy)} by sum, {formatShare(view.mean_accuracy)} by mean per token; mean margin {formatNumber(view.margin)} nats
          </Fact>
        )}
        {predictability && (
          <Fact name="labels">
            predicted from other prompts' pairs in {formatShare(predictability.accuracy)}, {formatCount(predictability.doubted)} doubted
          </Fact>
        )}
      </dl>
      {xray.notes.map((note) => (
        <p key={note} class="amber">
          {note}
        </p>
      ))}
      {xray.findings.map((finding) => (
        <Finding key={finding.kind} finding={finding} />
      ))}
    </>
  );
}

function Finding({ finding }: { finding: DoubtedPairs }) {
  const [one, several, more] = TITLES[finding.kind];
  const title = `${formatCount(finding.total)} ${finding.total === 1 ? one : several}${more}`;
  if (!finding.total) return <p class="soft doubt">{title}</p>;
  const hidden = finding.total - finding.pairs.length;
  return (
    <details class="doubt">
      <summary>{title}</summary>
      {finding.pairs.map((pair) => (
        <Pair key={`${pair.place} ${pair.row}`} pair={pair} />
      ))}
      {hidden > 0 && (
        <p class="soft">
          and {formatCount(hidden)} more: <code>prefd xray SPEC --only {finding.kind} --limit 0</code>
        </p>
      )}
    </details>
  );
}

function Pair({ pair }: { pair: FoundPair }) {
  const texts = [["prompt", shortenPrompt(pair.prompt)], ["chosen", shortenText(pair.chosen)], ["rejected", shortenText(pair.rejected)]] as const;
  return (
    <div class="doubted">
      <p>
        <span class="mono">{pair.place}</span> <span class="soft">{pair.why}</span> {pair.held_out && <span class="tag">held out</span>}
      </p>
      <dl>
        {texts.map(([name, text]) => (
          <div key={name} class={name}>
            <dt class="soft">{name}</dt>
            <dd>{text}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
