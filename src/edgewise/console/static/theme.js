// Sets the remembered theme before the first paint; a classic script, because modules run after it.
(() => {
  const theme = localStorage.getItem("edgewise.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
