/** What stands where an answer is still to come: quiet shapes of what will be there, so that nothing moves when it comes. */

interface BonesProps {
  /** How many shapes. */
  count?: number;
  /** The class of each, which has the size of what it stands for. */
  shape: string;
  /** The class of the box around them. */
  box?: string;
}

export function Bones({ count = 1, shape, box = "" }: BonesProps) {
  return (
    <div class={box} aria-hidden="true">
      {Array.from({ length: count }, (_, index) => (
        <div key={index} class={`bone ${shape}`} />
      ))}
    </div>
  );
}
