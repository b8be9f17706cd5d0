using Vmm.Events;

namespace Vmm.Devices;

/// <summary>Where a serial port's output goes. Called on the reactor's thread: it never waits.</summary>
public interface ISerialOutput : IDisposable
{
    /// <summary>Writes what can be written now.</summary>
    /// <param name="bytes">At least 1.</param>
    /// <param name="written">How many of them went out.</param>
    /// <returns><see cref="Errno.Again"/> if none can now: then <see cref="Ready"/> becomes writable when it can. Other errors end the
    /// output.</returns>
    Errno Write(ReadOnlySpan<byte> bytes, out int written);

    /// <summary>What becomes writable; null for an output that always takes everything.</summary>
    OwnedFd? Ready { get; }
}
