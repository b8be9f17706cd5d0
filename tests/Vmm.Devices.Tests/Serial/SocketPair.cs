using System.Net.Sockets;
using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>A connection between the host's side of a line and the device's.</summary>
internal sealed class SocketPair : IDisposable
{
    private readonly Socket _device;

    internal SocketPair()
    {
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        string path = Path.Combine(Path.GetTempPath(), $"vmm-test-{Guid.NewGuid():n}");
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen();
        Host.Connect(new UnixDomainSocketEndPoint(path));
        File.Delete(path);
        _device = listener.Accept();
        _device.Blocking = false;
    }

    /// <summary>The host's end.</summary>
    internal Socket Host { get; } = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    /// <summary>A non-blocking descriptor of the device's end.</summary>
    internal OwnedFd TakeFd()
    {
        using OwnedFd borrowed = new((int)_device.SafeHandle.DangerousGetHandle());
        try
        {
            return borrowed.Duplicate();
        }
        finally
        {
            borrowed.SetHandleAsInvalid();
        }
    }

    public void Dispose()
    {
        Host.Dispose();
        _device.Dispose();
    }
}
