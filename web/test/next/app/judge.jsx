"use client";

import { createDetector } from "grice";
import { useEffect, useState } from "react";

export function Judge() {
  const [said, setSaid] = useState("…");
  useEffect(() => {
    globalThis.judge = async (worker) => {
      const detector = await createDetector({ model: "/model.tar", worker });
      const { cooperative, probabilities } = await detector.detect({ context: "How are you?", response: "Fine, and you?" });
      const { info } = detector;
      await detector.dispose();
      setSaid(JSON.stringify({ cooperative, ...info }));
      return { probabilities, info };
    };
  }, []);
  return <p>Is it cooperative? <output>{said}</output></p>;
}
