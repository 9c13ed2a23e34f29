/** A small curve without axes. It holds every value that it is given; null is a gap. */
interface SparkProps {
  values: readonly (number | null)[];
  label: string;
  width?: number;
  height?: number;
  color?: string;
}

export function Spark({ values, label, width = 96, height = 24, color = "blue" }: SparkProps) {
  return (
    <svg class="spark" width={width} height={height} viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={label}>
      <path d={drawPath(values, width, height)} style={{ stroke: `var(--${color})` }} />
    </svg>
  );
}

function drawPath(values: readonly (number | null)[], width: number, height: number): string {
  const finite = values.filter((value): value is number => value !== null && Number.isFinite(value));
  if (!finite.length) return "";
  const [low, high] = finite.reduce(([min, max], value) => [Math.min(min, value), Math.max(max, value)], [Infinity, -Infinity]);
  const span = high - low || 1;
  const across = width / Math.max(values.length - 1, 1);
  let pen = "M";
  let path = "";
  values.forEach((value, index) => {
    if (value === null || !Number.isFinite(value)) {
      pen = "M";
      return;
    }
    const down = high === low ? height / 2 : 1 + (1 - (value - low) / span) * (height - 2);
    path += `${pen}${(index * across).toFixed(1)} ${down.toFixed(1)}`;
    pen = "L";
  });
  return values.length === 1 ? `${path}h${width}` : path;
}
