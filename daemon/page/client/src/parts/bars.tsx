/** A histogram: a bar for each count, those below `split` in another colour, and a dotted line at it. */
interface BarsProps {
  from: number;
  width: number;
  counts: readonly number[];
  label: string;
  split?: number;
  height?: number;
  color?: string;
}

const GAP = 0.12;

export function Bars({ from, width, counts, label, split, height = 64, color = "blue" }: BarsProps) {
  const most = Math.max(1, ...counts);
  const zero = split === undefined ? null : (split - from) / width;
  return (
    <svg class="bars" viewBox={`0 0 ${counts.length} ${height}`} height={height} preserveAspectRatio="none" role="img" aria-label={label}>
      {counts.map((count, index) => {
        const tall = count ? Math.max(2, (count / most) * (height - 2)) : 0;
        const below = split !== undefined && from + (index + 0.5) * width < split;
        return (
          <rect key={index} x={index + GAP / 2} y={height - tall} width={1 - GAP} height={tall} style={{ fill: `var(--${below ? "red" : color})` }}>
            <title>{`${count}: ${(from + index * width).toPrecision(3)} to ${(from + (index + 1) * width).toPrecision(3)}`}</title>
          </rect>
        );
      })}
      {zero !== null && zero >= 0 && zero <= counts.length && <line x1={zero} x2={zero} y1="0" y2={height} class="split" />}
    </svg>
  );
}
