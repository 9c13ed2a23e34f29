/** A number that matters, with its name above and a word below. */
export function Tile({ name, value, note = "", good = false }: { name: string; value: string; note?: string; good?: boolean }) {
  return (
    <div class="card tile">
      <dt class="soft">{name}</dt>
      <dd class={`number ${good ? "good" : ""}`}>{value}</dd>
      {note && <dd class="soft note number">{note}</dd>}
    </div>
  );
}
