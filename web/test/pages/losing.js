// Keeps hold of the GPU device that is opened after this, to make it go away.

export const lost = {};

if (globalThis.GPUAdapter) {
  const original = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...parts) {
    const device = await original.apply(this, parts);
    lost.lose = () => device.destroy();
    return device;
  };
}
