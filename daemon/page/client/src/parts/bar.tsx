/** A bar that is filled by a share. */
interface BarProps {
  share: number;
  label: string;
  tone?: "blue" | "green";
}

export function Bar({ share, label, tone = "blue" }: BarProps) {
  const filled = Math.max(0, Math.min(1, share)) * 100;
  return (
    <div class={`bar ${tone}`} role="img" aria-label={label}>
      <div style={{ width: `${filled}%` }} />
    </div>
  );
}
