/** A number that matters, with its name above and a word below. */
export function Tile({ name, value, note = "" }: { name: string; value: string; note?: string }) {
  return (
    <div class="card tile">
      <dt class="soft">{name}</dt>
      <dd class="number">{value}</dd>
      <dd class="soft note number">{note}</dd>
    </div>
  );
}
