// A verdict as the page shows it, without maxims that cannot apply.

import type { Detection } from "grice/webgpu";
import type { Turn } from "./chat.js";
import { MAXIMS, type Maxim, type PerMaxim } from "./maxims.js";

export interface Ruling {
  probabilities: PerMaxim<number>;
  violations: PerMaxim<boolean>;
  isCooperative: boolean;
  isTruncated: boolean;
  /** The model's tokenizer knows less than half of the message, so the verdict means little. */
  isUnread: boolean;
  isCached: boolean;
  /** Relation in the first message of a chat, which has nothing to relate to. */
  inapplicable: Maxim | null;
}

export function rule(turn: Turn, { probabilities, violations, truncated, cached, unknown_share = 0 }: Detection & { unknown_share?: number }): Ruling {
  const inapplicable = turn.context.length === 0 ? "relation" : null;
  const broken = inapplicable ? { ...violations, [inapplicable]: false } : violations;
  return {
    probabilities,
    violations: broken,
    isCooperative: !MAXIMS.some((maxim) => broken[maxim]),
    isTruncated: truncated,
    isUnread: unknown_share > 0.5,
    isCached: cached,
    inapplicable,
  };
}
