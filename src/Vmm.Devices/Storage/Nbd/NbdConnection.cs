using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A connection whose handshake is over: it carries requests of an export.</summary>
/// <param name="Socket">Never blocks. Over TLS it is our end of the tunnel.</param>
/// <param name="Export">What the server says of it.</param>
internal sealed record NbdConnection(OwnedFd Socket, NbdExport Export) : IDisposable
{
    public void Dispose() => Socket.Dispose();
}
