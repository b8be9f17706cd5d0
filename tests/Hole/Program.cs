using Vmm.Devices;
using Vmm.Devices.Sandbox;
using Vmm.Hole;

[assembly: System.Runtime.Versioning.SupportedOSPlatform("linux")]

// hole LAYERS ATTEMPT DIRECTORY VICTIM ADDRESS PORT: makes one attempt under some layers, and says how it ended. 'list' lists them. The attempt
// 'wait' is none: it serves until its input ends, as the neighbour of one in a process of its own.
if (args is ["list"])
{
    foreach (string name in Attempts.All.Keys) Console.WriteLine(name);
    return 0;
}
SandboxLayers layers = args[0] switch
{
    "none" => 0,
    "capabilities" => SandboxLayers.Privileges,
    "landlock" => SandboxLayers.Files,
    "seccomp" => SandboxLayers.SystemCalls,
    "namespaces" => SandboxLayers.Namespaces,
    _ => SandboxLayers.All,
};
Surroundings surroundings = new(args[2], int.Parse(args[3]), long.Parse(args[4]), int.Parse(args[5]));
// What 'vmm serve' would give to a process that serves this disk.
SandboxPlan plan = new()
{
    Layers = layers,
    Accesses = new DiskSpec { Path = surroundings.Of("own.img") }.HostAccesses().ToList(),
    Opened = [new HostAccess(HostAccessKind.Listen, surroundings.Of("own/socket"))],
};
if (layers != 0) ProcessSandbox.Enclose(plan);
using HoleGuest guest = new();
if (layers != 0) ProcessSandbox.Close(plan);
if (args[1] == "wait")
{
    Console.WriteLine("waits");
    while (Console.In.Read() >= 0) { }
    return 0;
}
// Two devices of one process share its memory; each in a process of its own, it is the victim's.
if (args[0] != "isolate") surroundings = surroundings with { NeighbourAddress = HoleDevice.NeighbourMemory };
long result = Attempts.All[args[1]](guest, surroundings);
Console.WriteLine(result >= 0 ? "succeeded" : $"error {-result}");
return 0;
