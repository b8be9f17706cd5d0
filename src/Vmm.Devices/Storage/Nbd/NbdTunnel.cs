using System.Diagnostics.CodeAnalysis;
using System.Net.Security;
using System.Net.Sockets;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// Carries a connection's bytes between a socket pair and TLS, on the runtime's pool, so that the reactor has a plain descriptor in
/// either case. It ends when either end does.
/// </summary>
internal static class NbdTunnel
{
    private const int BufferBytes = 256 * 1024;

    /// <summary>Starts one.</summary>
    /// <param name="tls">Taken over.</param>
    /// <returns>Our end.</returns>
    internal static OwnedFd Dig(SslStream tls)
    {
        (OwnedFd ours, OwnedFd theirs) = UnixSocket.Pair();
        SafeSocketHandle handle = new(theirs.Number, ownsHandle: true);
        theirs.SetHandleAsInvalid();
        _ = CarryAsync(tls, new NetworkStream(new Socket(handle), ownsSocket: true));
        return ours;
    }

    [SuppressMessage("Design", "CA1031:Do not catch general exception types", Justification = "However it ends, our end hangs up.")]
    private static async Task CarryAsync(SslStream tls, NetworkStream plain)
    {
        try
        {
            await Task.WhenAny(CopyAsync(plain, tls), CopyAsync(tls, plain)).ConfigureAwait(false);
        }
        catch (Exception)
        {
            // Both are closed below.
        }
        finally
        {
            await tls.DisposeAsync().ConfigureAwait(false);
            await plain.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static async Task CopyAsync(Stream from, Stream to)
    {
        try
        {
            await from.CopyToAsync(to, BufferBytes).ConfigureAwait(false);
        }
        catch (Exception ended) when (ended is IOException or ObjectDisposedException or SocketException)
        {
            // The end of the other stream follows.
        }
    }
}
