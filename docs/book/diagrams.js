// Draws the Mermaid diagrams of a page, in light or dark as the page is.
(() => {
  const blocks = [...document.querySelectorAll("code.language-mermaid")];
  if (blocks.length === 0) return;
  for (const block of blocks) {
    const diagram = document.createElement("pre");
    diagram.className = "mermaid";
    diagram.textContent = block.textContent;
    block.parentElement.replaceWith(diagram);
  }
  const isDark = ["coal", "navy", "ayu"].some((theme) => document.documentElement.classList.contains(theme));
  window.mermaid.initialize({ startOnLoad: false, securityLevel: "strict", theme: isDark ? "dark" : "default" });
  window.mermaid.run({ nodes: document.querySelectorAll("pre.mermaid") });
})();
