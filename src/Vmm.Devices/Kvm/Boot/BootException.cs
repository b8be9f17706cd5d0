namespace Vmm.Devices.Kvm;

/// <summary>A kernel, initrd or command line can't be booted. The message is one sentence: what was found, and what to do.</summary>
public sealed class BootException(string message) : IOException(message);
