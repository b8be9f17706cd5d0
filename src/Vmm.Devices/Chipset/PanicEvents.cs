namespace Vmm.Devices;

/// <summary>What a guest reports through <see cref="PvPanicDevice"/> (QEMU, docs/specs/pvpanic).</summary>
[Flags]
internal enum PanicEvents : byte
{
    /// <summary>Nothing.</summary>
    None = 0,
    /// <summary>The guest's kernel panicked.</summary>
    Panicked = 1,
    /// <summary>It panicked and goes on to save a dump of itself.</summary>
    CrashLoaded = 2,
    /// <summary>It shut down in order.</summary>
    Shutdown = 4,
}
