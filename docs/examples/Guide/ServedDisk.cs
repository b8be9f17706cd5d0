using Vmm.Devices;
using Vmm.Devices.VhostUser;

namespace Vmm.Examples.Guide;

/// <summary>Guide 5: a program that serves a disk to QEMU, or to any other vhost-user front-end.</summary>
public static class ServedDisk
{
    /// <summary>Serves an image until it is asked to stop.</summary>
    public static void Serve(string image, string socket, Action<string> announce, CancellationToken stop)
    {
        using VhostUserServer server = new(new VhostUserServerOptions { Announce = announce, Reactors = 1 });
        VhostUserBackend disk = server.Add("disk0", new DiskSpec { Path = image }, socket);
        server.Start();
        announce($"serving {disk.Device.Name} at {socket}");
        stop.WaitHandle.WaitOne();
    }
}
