using System.Net.Sockets;

namespace Vmm.EndToEnd;

/// <summary>Whether a program listens at a path: its file is there a moment before it can be connected to.</summary>
internal static class ListeningSocket
{
    internal static bool IsAt(string path)
    {
        using Socket socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    internal static void WaitFor(string path) =>
        Assert.True(SpinWait.SpinUntil(() => IsAt(path), TimeSpan.FromMinutes(1)), $"nothing listens at '{path}'");
}
