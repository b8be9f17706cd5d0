namespace Vmm.Devices;

/// <summary>A disk image can't be used. The message is a sentence for the operator: which image, what was found, what to do.</summary>
public sealed class DiskImageException(string message) : IOException(message);
